"""Looks for what strangers leave behind and what is visible: S14, S18, S19, S21, S24 of docs/security.md."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.gateways import KEY, StartGateway
from kit.process_files import metrics_files, shared_memory
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway, Upstream
from kit.wire import bearer, head, send_header_lines, send_raw

pytestmark = pytest.mark.live


CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


STRANGERS = int(os.environ.get("STRANGERS", "1000000"))  # in the soak run


# ---------------------------------------------------------------- S14: strangers leave no trace


def stranger(port: int, number: int, name: str) -> tuple[bytes, bytes]:
    """A request with a new identity. Returns the status of the response."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    body = json.dumps({"model": f"nowhere/{name}", "messages": HELLO})
    line, key, body, status = (
        (f"GET /v1/{name}", name, "", b"401"),
        (f"GET /{name}", KEY, "", b"404"),
        (f"GET /v1/models/{name}", KEY, "", b"404"),
        (f"POST {CHAT}", KEY, body, b"404"),
    )[number % 4]
    lines = [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"x-request-id: {name}", f"x-trace-id: {name}"]
    lines += [f"x-forwarded-for: {address}", f"x-api-key: {key}", "Connection: close"]
    lines += ["Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode(), status


def flood(gateway: Gateway, count: int, seed: int) -> None:
    """Random models, keys, paths, ids and addresses."""
    chance = random.Random(seed)

    def one(number: int) -> None:
        request, status = stranger(gateway.port, number, chance.randbytes(8).hex())
        with socket.create_connection(("127.0.0.1", gateway.port), 30) as sock:
            sock.sendall(request)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 " + status), answer

    with ThreadPoolExecutor(8) as pool:
        for start in range(0, count, 1000):
            list(pool.map(one, range(start, min(count, start + 1000))))


def live_keys(gateway: Gateway) -> int:
    """The size of the shared state, KiB."""
    return sum(os.stat(path).st_blocks // 2 for path in shared_memory(gateway))


def series(gateway: Gateway) -> set[str]:
    """The names and labels of all metrics."""
    lines = send_header_lines(gateway.port, target=b"GET /metrics").body.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def routed_nowhere(start_gateway: StartGateway) -> Gateway:
    """A gateway that answers 404 for an unknown model."""
    upstreams = {"GATEWAY_UPSTREAMS": "one=mock://local;two=mock://local"}
    return start_gateway(GATEWAY_RATE_LIMIT_PER_MINUTE="10000000", **upstreams)


def known_to(gateway: Gateway) -> None:
    """A crowd of ordinary calls, so that what these make a worker keep is there already: threads, pages."""
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: gateway.chat("one/any").status, range(1000))) == {200}


def strangers_leave_no_trace(gateway: Gateway, count: int) -> tuple[int, int]:
    """How much a worker grows by half of them, and by the other half, bytes."""
    known_to(gateway)
    flood(gateway, 400, seed=1)
    before, known = live_keys(gateway), series(gateway)
    with cost_to(gateway) as first:
        flood(gateway, count // 2, seed=2)
    with cost_to(gateway) as second:
        flood(gateway, count // 2, seed=3)
    print(
        f"{count} strangers: {first.memory / MIB:.1f} and {second.memory / MIB:.1f} MiB a worker, by halves;"
    )
    print(f"{live_keys(gateway) - before} KiB of shared state, which is in each of them")
    assert series(gateway) == known
    # The first half also grows by what the allocator keeps for each thread, once: Python 3.13 takes more.
    assert first.memory < 16 * MIB
    assert second.memory < 5 * MIB
    # A failed key is counted in one of 1024 places of 5 KiB, which the store finds by pages of its own;
    # nothing else of a stranger is kept.
    assert live_keys(gateway) - before <= 1024 * 5 + 128
    return first.memory, second.memory


def test_s14_strangers_leave_no_trace(start_gateway: StartGateway):
    strangers_leave_no_trace(routed_nowhere(start_gateway), 2000)


@pytest.mark.soak
def test_s14_a_million_strangers_leave_no_trace(start_gateway: StartGateway):
    _, second = strangers_leave_no_trace(routed_nowhere(start_gateway), STRANGERS)
    assert second < MIB, "it goes on growing"


# ---------------------------------------------------------------- S18: the log


CANARY = "canary-5f1d"


def test_s18_no_secret_of_a_caller_is_in_the_log(gateway: Gateway, upstream: Upstream):
    secrets = {
        "x_api_key": f"{CANARY}-key",
        "cookie": CANARY,
        "x_custom": CANARY,
        "referer": f"http://{CANARY}/",
        "user_agent": CANARY,
        "openai_organization": CANARY,
        "x_forwarded_for": CANARY,
        "tracestate": f"a={CANARY}",
    }
    gateway.ask("GET", f"/v1/models?key={CANARY}", **secrets)
    del secrets["x_api_key"]
    for behaviour in ("ok", "status,code=400", "error-200", "hang-up", "bad-event"):
        fields = {
            "user": CANARY,
            "metadata": {"a": CANARY},
            "tools": [{"name": CANARY}],
            "stream": "bad" in behaviour,
        }
        messages = [{"role": "user", "content": CANARY}]
        body = {"model": behaviour, "messages": messages, **fields}
        gateway.ask("POST", f"{CHAT}?key={CANARY}", body, **secrets)
    gateway.ask("POST", CHAT, f'{{"model":"ok","messages":"{CANARY}"'.encode(), **secrets)
    unreadable = [
        [b"Authorization: Bearer " + CANARY.encode() + b"\0"],
        [f"Bad Name {CANARY}: x".encode()],
        [f"X-A: {CANARY}".encode(), f" {CANARY}".encode()],
        [b"Long: " + CANARY.encode() * 2000],
        [b"Transfer-Encoding: " + CANARY.encode()],
        [b"Content-Length: " + CANARY.encode()],
        [b"Expect: " + CANARY.encode()],
    ]
    for lines in unreadable:
        assert send_header_lines(gateway.port, *lines, target=f"GET /?{CANARY}".encode()).status >= 400
    assert send_header_lines(gateway.port, target=f"GET /{CANARY}\x01?{CANARY}".encode()).status == 400
    chunked = head(gateway.port, CHAT, KEY, "Transfer-Encoding: chunked")
    assert send_raw(gateway.port, chunked + f"{CANARY}\r\n".encode()).status == 400
    marker = gateway.ask("GET", "/v1/models").headers["x-request-id"]
    assert gateway.logged(marker)
    assert CANARY not in gateway.stderr
    assert gateway.stderr.count("unreadable request from") >= len(unreadable)


def test_s18_a_request_cannot_forge_a_log_line(gateway: Gateway):
    injected = '\n{"level":"fatal","forged-s18":true}'
    gateway.chat(f"mock/{injected}")
    quoted = "".join(f"%{byte:02x}" for byte in injected.encode())
    answer = gateway.ask("GET", f"/v1/{quoted}%e9")
    assert gateway.logged(answer.headers["x-request-id"])
    assert not [line for line in gateway.stderr.splitlines() if line.startswith('{"level"')]
    for line in gateway.stderr.splitlines():
        if "forged-s18" in line:
            json.loads(line)


# ---------------------------------------------------------------- S19, S21, S24: what is visible


def test_s19_health_reveals_nothing(gateway: Gateway):
    bodies = {send_header_lines(gateway.port, target=b"GET /health").body for _ in range(5)}
    gateway.chat("hang-up")
    assert bodies | {send_header_lines(gateway.port, bearer(KEY), target=b"GET /health?verbose=1").body} == {
        b'{"status":"ok"}'
    }


def test_s19_metrics_are_for_this_machine_only(gateway: Gateway):
    told = send_header_lines(gateway.port, target=b"GET /metrics")
    assert told.status == 200
    assert KEY not in told.body.decode()
    for header in (
        b"X-Forwarded-For: 198.51.100.1",
        b"Forwarded: for=198.51.100.1",
        b"X-Real-IP: 198.51.100.1",
    ):
        assert send_header_lines(gateway.port, header, target=b"GET /metrics").status == 401
    assert gateway.ask("GET", "/metrics", x_forwarded_for="198.51.100.1").status == 404
    assert send_header_lines(gateway.port, target=b"POST /metrics").status == 401


@pytest.mark.parametrize(
    "path", ["/admin", "/debug", "/console", "/env", "/v1/keys", "/config", "/server-status"]
)
def test_s19_no_hidden_route_exists(gateway: Gateway, path: str):
    assert send_header_lines(gateway.port, target=f"GET {path}".encode()).status == 401
    assert gateway.ask("GET", path).status == 404


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health", "/nothing"])
def test_s21_no_other_origin_may_call(port: int, path: str):
    origin = [b"Origin: https://evil.example", b"Access-Control-Request-Method: POST"]
    preflight = send_header_lines(port, *origin, target=f"OPTIONS {path}".encode())
    assert preflight.status in (401, 404, 405)
    asked = send_header_lines(port, *origin, bearer(KEY), target=f"GET {path}".encode())
    for answer in (preflight, asked):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try it as somebody else")
def test_s24_no_other_user_reads_or_stops_the_state(target: Gateway):
    """Only the owner can reach the state (through /proc: it has no file name) and the metrics."""
    folders = {str(file.parent) for file in metrics_files(target)}
    for path in (*shared_memory(target), *folders):
        command = (
            ["/bin/ls", path] if path in folders else ["/bin/dd", f"if={path}", "of=/dev/null", "count=1"]
        )
        somebody = subprocess.run(command, user=65534, group=65534, capture_output=True, check=False)
        assert b"Permission denied" in somebody.stderr
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
