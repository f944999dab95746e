"""Attacks the gateway as a caller. Each test names its line of docs/security.md."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import socket
import statistics
import subprocess
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import brotli
import pytest
from backports import zstd
from kit.gateways import KEY, UPSTREAM_KEY, StartGateway
from kit.process_files import metrics_files, processes, shared_memory
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer, ask, head, send_header_lines, send_raw

pytestmark = pytest.mark.live

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
BODY = json.dumps({"model": "ok", "messages": HELLO}).encode()
DEFAULT_LIMIT = 16 * MIB  # of a body
STRANGERS = int(os.environ.get("STRANGERS", "1000000"))  # in the soak run


def bearer(key: str) -> bytes:
    return f"Authorization: Bearer {key}".encode()


# ---------------------------------------------------------------- S1 to S3, S16, S20: keys and routes


def test_s1_no_key_is_stored_anywhere(target: Gateway, upstream: Upstream):
    assert target.chat("ok").status == 200
    target.ask("GET", "/v1/models", x_api_key="wrong-key-of-s1")
    places = [target.stderr.encode(), *(Path(path).read_bytes() for path in shared_memory(target))]
    places += [file.read_bytes() for file in metrics_files(target)]
    places += [send_header_lines(target.port, target=b"GET /metrics").body]
    places += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(target)]
    places += [
        target.ask("GET", path).body for path in ("/v1/models", "/v1/circuit-breakers", "/v1/routes/ok")
    ]
    assert len(places) > 9
    for secret in (KEY, UPSTREAM_KEY, "wrong-key-of-s1"):
        assert not [place[:100] for place in places if secret.encode() in place]


def timed_by_turns(gateway: Gateway, count: int) -> tuple[list[float], list[float]]:
    """The durations of refusals, alternating keys with a right prefix and other keys: seconds, sorted.

    The slowest tenth of each is dropped: it shows the machine, not the gateway.
    """
    keys = KEY[:-1] + "~", "~" * len(KEY)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for key, taken in zip(keys, times, strict=True):
            begun = time.perf_counter()
            assert ask(gateway.port, "GET", "/v1/models", headers={"x-api-key": key}).status == 401
            taken.append(time.perf_counter() - begun)
    near, far = (sorted(taken)[: count * 9 // 10] for taken in times)
    return near, far


def welch_t(one: list[float], other: list[float]) -> float:
    """The distance of two means, in standard errors."""
    spread = (statistics.variance(one) / len(one) + statistics.variance(other) / len(other)) ** 0.5
    return (statistics.mean(one) - statistics.mean(other)) / spread


def not_listening_for_strikes(start_gateway: StartGateway) -> Gateway:
    return start_gateway(GATEWAY_FAILED_KEYS_PER_MINUTE="0", GATEWAY_WORKERS="1")


def test_s2_the_time_of_a_refusal_does_not_depend_on_the_key(start_gateway: StartGateway):
    near, far = timed_by_turns(not_listening_for_strikes(start_gateway), 300)
    assert abs(welch_t(near, far)) < 4.5


@pytest.mark.soak
def test_s2_the_times_of_20_000_refusals_do_not_depend_on_the_key(start_gateway: StartGateway):
    near, far = timed_by_turns(not_listening_for_strikes(start_gateway), 20_000)
    apart = statistics.median(near) / statistics.median(far) - 1
    print(f"2 x 20000 refusals: t = {welch_t(near, far):.2f}, medians {apart:+.3%} apart")
    assert abs(welch_t(near, far)) < 4.5
    assert abs(apart) < 0.01


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([bearer(KEY), b"X-API-Key: other"], 400),
        ([bearer("other"), f"X-API-Key: {KEY}".encode()], 400),
        ([bearer(KEY), bearer(KEY)], 401),
        ([bearer(KEY), bearer("other")], 401),
        ([f"X-API-Key: {KEY}".encode(), f"X-API-Key: {KEY}".encode()], 401),
        ([f"X-API-Key: {KEY}, {KEY}".encode()], 401),
        ([bearer(f"{KEY},{KEY}")], 401),
        ([bearer(f"{KEY} x")], 401),
        ([f"Authorization: {KEY}".encode()], 401),
        ([f"Authorization: Basic {KEY}".encode()], 401),
        ([f"X_API_Key: {KEY}".encode()], 401),
        ([f"Proxy-Authorization: Bearer {KEY}".encode()], 401),
        ([b"Authorization: Bearer", f" {KEY}".encode()], 400),  # a folded line
        ([f"Authorization : Bearer {KEY}".encode()], 400),
        ([f"Cookie: api_key={KEY}".encode()], 401),
        ([bearer(KEY + "\xff")], 401),
        ([f"X-API-Key: \xa0{KEY}".encode("latin-1")], 401),
    ],
)
def test_s3_contradictory_credentials_are_refused(
    port: int, gateway: Gateway, lines: list[bytes], status: int
):
    # The proxy drops some of these headers, and refuses others.
    assert send_header_lines(port, *lines).status in ((status,) if port == gateway.port else (400, 401))


def test_s3_a_key_in_the_url_is_not_accepted(port: int):
    for query in (f"api_key={KEY}", f"key={KEY}", f"access_token={KEY}"):
        assert send_header_lines(port, target=f"GET /v1/models?{query}".encode()).status == 401


DOORS = """/ /v1 /v1/ /v1/models /v1/models/mock /v1//models //v1/models /v1/models/ /v1/./models /V1/models
/v1/%6dodels /v1%2fmodels /v1/models%00 /v1/models/%2e%2e/%2e%2e/health /health/../v1/models /healthx /health/
/health%2f..%2fv1/models /v1/chat/completions /v1/completions /v1/embeddings /v1/responses /v1/rerank
/v1/moderations /v1/circuit-breakers /v1/routes/ok /admin /debug /console /static/x /favicon.ico
/v1/models;/health /v1/models?/health http://x/v1/models"""


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "HACK"])
def test_s16_every_route_needs_a_key(port: int, gateway: Gateway, method: str):
    def status(path: str) -> int:
        return send_header_lines(port, b"Content-Length: 0", target=f"{method} {path}".encode()).status

    # TRACE ends at the proxy.
    closed = (400, 405) if method == "TRACE" and port != gateway.port else (400, 401)
    found = {path: status(path) for path in DOORS.split()}
    assert {path: status for path, status in found.items() if status not in closed} == {}
    assert status("/health") == (200 if method == "GET" else closed[-1])


@pytest.mark.parametrize(
    "host", [b"evil.example", b"127.0.0.1", b"localhost", b"/health", b"", b"a/../health"]
)
def test_s16_no_host_header_opens_a_route(port: int, host: bytes):
    answer = send_raw(port, b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert answer.status in (400, 401)
    assert b"evil.example" not in answer.body


def test_s20_wrong_keys_do_not_block_right_keys_from_the_same_address(target: Gateway):
    guesser, caller = "203.0.113.5", "203.0.113.6"

    def guess(number: int) -> Answer:
        return target.ask("GET", "/v1/models", x_api_key=f"guess-{number}", x_forwarded_for=guesser)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(guess, range(600)))
        others = [target.ask("GET", "/v1/models", x_forwarded_for=caller).status for _ in range(20)]
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= 60
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error["code"] == "too_many_failed_keys"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert set(others) == {200}
    assert target.ask("GET", "/v1/models").status == 200
    # A right key from there passes: other callers may share the address.
    assert {target.ask("GET", "/v1/models", x_forwarded_for=guesser).status for _ in range(20)} == {200}
    assert target.ask("GET", "/v1/models", x_api_key="guess", x_forwarded_for=guesser).status == 429
    # Claiming another address in front of the proxy's entry does not help.
    listed = f"{caller}, {guesser}"
    assert target.ask("GET", "/v1/models", x_api_key="guess", x_forwarded_for=listed).status == 401


@pytest.mark.soak
def test_s20_ten_thousand_wrong_keys_are_cheap(start_gateway: StartGateway):
    """The gateway counts at most sixty wrong keys a minute; more cost nothing extra. Right keys pass.

    That holds for a right key from another address and from the same address.
    """
    gateway = start_gateway(GATEWAY_RATE_LIMIT_PER_MINUTE="0")
    guesser, caller = "203.0.113.5", "203.0.113.6"
    others: list[tuple[int, float]] = []
    over = threading.Event()

    def guess(number: int) -> int:
        return gateway.ask("GET", "/v1/models", x_api_key=f"guess-{number}", x_forwarded_for=guesser).status

    def ask_on() -> None:
        while not over.wait(0.02):
            begun = time.monotonic()
            answer = gateway.ask("GET", "/v1/models", x_forwarded_for=caller)
            others.append((answer.status, time.monotonic() - begun))

    with cost_to(gateway) as looked_at:
        for number in range(2000):  # from 50 addresses, so that every attempt is checked
            address = f"203.0.113.{100 + number % 50}"
            ask(gateway.port, "GET", "/v1/models", headers={"x-api-key": "no", "x-forwarded-for": address})
    begun = time.monotonic()
    with cost_to(gateway) as refused, ThreadPoolExecutor(5) as pool:
        asking = pool.submit(ask_on)
        statuses = list(pool.map(guess, range(10_000)))
        over.set()
        asking.result()
    minutes = (time.monotonic() - begun) / 60
    each, once = refused.cpu / (10_000 + len(others)) * 1e3, looked_at.cpu / 2000 * 1e3
    slowest = sorted(seconds for _, seconds in others)[len(others) * 99 // 100]
    print(
        f"10000 wrong keys in {minutes * 60:.0f} s: {statuses.count(401)} looked at; {each:.2f} ms of CPU a"
    )
    print(f"request, {once:.2f} for one that is looked at; {len(others)} others, p99 {slowest * 1e3:.0f} ms")
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= 60 * (int(minutes) + 1) + len(gateway.workers)
    assert each <= once * 1.2
    assert {status for status, _ in others} == {200}


# ---------------------------------------------------------------- S6, S26: header injection, ids


@pytest.mark.parametrize(
    "name", ["x-request-id", "x-trace-id", "traceparent", "tracestate", "x-request-timeout"]
)
@pytest.mark.parametrize(
    "value",
    [b"a\xff\xfe", b"a\x7f", b"a%0d%0aSet-Cookie:x", b"x" * 8000, b"a\tb", "ü€".encode(), b'"};alert(1)'],
)
def test_s6_s26_no_header_value_injects_a_header(port: int, upstream: Upstream, name, value):
    answer = send_header_lines(port, bearer(KEY), name.encode() + b": " + value)
    assert answer.status in (200, 400)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"].encode() != value
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "value", [b"a\r\nX-Injected: 1", b"a\nX-Injected: 1", b"a\rX-Injected: 1", b"a\0b", b"x" * MIB]
)
def test_s6_s26_an_id_with_a_line_end_or_a_megabyte_is_replaced(port: int, value: bytes):
    answer = send_header_lines(port, bearer(KEY), b"x-request-id: " + value)
    assert answer.status in (200, 400, 431)
    assert "x-injected" not in answer.headers
    if answer.status == 200:
        assert answer.headers["x-request-id"] != "a\r\nX-Injected: 1"


@pytest.mark.parametrize("model", ["a\r\nb", "a\0b", "a\x7fb", "\ud800", "é\nSet-Cookie: x"])
def test_s6_a_model_name_with_a_line_end_is_refused(gateway: Gateway, upstream: Upstream, model: str):
    answer = gateway.chat(model)
    assert answer.status == 400
    assert upstream.requests() == []


# ---------------------------------------------------------------- S8 to S12, S22: bodies


COMPRESSED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstd.compress,
}


def too_large(way: str) -> tuple[tuple[str, ...], bytes]:
    size = DEFAULT_LIMIT + 1
    text = b'{"model":"ok","messages":[{"role":"user","content":"' + b"x" * size
    if way == "told":
        return (f"Content-Length: {len(text)}",), text
    if way == "chunked":
        chunks = b"".join(b"10000\r\n%b\r\n" % text[at : at + 65536] for at in range(0, size - 65536, 65536))
        return ("Transfer-Encoding: chunked",), chunks + b"20000\r\n" + b"x" * 131072 + b"\r\n0\r\n\r\n"
    if way in COMPRESSED:
        bomb = COMPRESSED[way](text * 2)
        return (f"Content-Encoding: {way}", f"Content-Length: {len(bomb)}"), bomb
    return ("Content-Length: 99999999999999999999",), b"{}"  # a false length


@pytest.mark.parametrize(
    ("way", "status"), [("told", 413), ("chunked", 413), ("lie", 413), *((way, 413) for way in COMPRESSED)]
)
def test_s8_a_body_that_is_too_large_is_refused(target: Gateway, upstream: Upstream, way: str, status: int):
    lines, body = too_large(way)
    with cost_to(target) as cost:
        answer = send_raw(target.port, head(target.port, CHAT, KEY, *lines) + body)
    assert answer.status == status
    assert cost.memory < 2 * DEFAULT_LIMIT
    assert upstream.requests() == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 1_000_000, id="a million brackets"),
        pytest.param(
            b'{"model":"ok","messages":[],"x":' + b"[" * 1_000_000, id="a million brackets in a field"
        ),
        pytest.param(
            b'{"model":"ok","messages":[{"role":"u"}],"x":' + b"[" * 65 + b"]" * 65 + b"}", id="depth"
        ),
        pytest.param(b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}", id="a million names"),
        pytest.param(json.dumps({"model": "ok", "messages": HELLO * 4097}).encode(), id="messages"),
        pytest.param(b'{"model":"ok","messages":"' + b"x" * 10_000_000 + b'"}', id="ten megabytes of text"),
        pytest.param(b'{"\\u006d":"' + b"\\u006d" * 1_000_000 + b'"}', id="escapes"),
    ],
)
def test_s9_decompression_bombs_are_refused(target: Gateway, upstream: Upstream, body: bytes):
    with cost_to(target) as cost:
        answer = target.ask("POST", CHAT, body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert cost.cpu <= 0.1
    assert upstream.requests() == []


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "top_logprobs"])
@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "1e999", "9" * 5000, "-0", "true", '"5"', "1.5", "[]", "9" * 16, "\\u0031", "1e2"],
)
def test_s10_absurd_numbers_are_refused(gateway: Gateway, upstream: Upstream, name: str, number: str):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},"{name}": {number} }}'
    answer = gateway.ask("POST", CHAT, body.encode())
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert upstream.requests() == []


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 400, "5e-1e5"])
@pytest.mark.parametrize("place", ['"x":{}', '"metadata":{{"a":[{}]}}', '"\\u006dax":{}'])
def test_s10_absurd_numbers_are_refused_anywhere_in_the_body(
    gateway: Gateway, upstream: Upstream, number: str, place: str
):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},{place.format(number)}}}'
    assert gateway.ask("POST", CHAT, body.encode()).status == 400
    assert upstream.requests() == []


@pytest.mark.parametrize("count", ["1", "0", "-1", "null", "131072"])
def test_s10_ordinary_numbers_pass(gateway: Gateway, upstream: Upstream, count: str):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},"max_tokens": {count} }}'
    assert gateway.ask("POST", CHAT, body.encode()).status == 200
    assert json.loads(upstream.last()["body"])["max_tokens"] == json.loads(count)


@pytest.mark.parametrize("names", [("forbidden", "mock"), ("mock", "forbidden")])
@pytest.mark.parametrize("second", ['"model"', '"\\u006dodel"', '"mode\\u006C"'])
def test_s11_a_forbidden_model_next_to_an_allowed_one_is_refused(
    strict: Gateway, upstream: Upstream, names, second: str
):
    body = f'{{"model":"{names[0]}","messages":{json.dumps(HELLO)},{second}:"{names[1]}"}}'.encode()
    assert strict.ask("POST", CHAT, body, x_api_key="key-narrow").status == 400
    assert upstream.requests() == []


@pytest.mark.parametrize("chain", [["forbidden"], ["mock", "forbidden"], ["scripted/ok", "mock/x"]])
def test_s11_a_forbidden_model_in_the_callers_fallbacks_is_refused(
    strict: Gateway, upstream: Upstream, chain: list[str]
):
    answer = strict.chat("mock", fallbacks=chain, headers={"x_api_key": "key-narrow"})
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert upstream.requests() == []


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace(b"Hello", b"\\ud800"),
        BODY.replace(b"Hello", b"\\udc00\\ud800"),
        BODY.replace(b"Hello", b"\xed\xa0\x80"),
        BODY.replace(b"Hello", b"\xc0\xaf"),
        BODY.replace(b"Hello", b"\xff"),
        BODY.replace(b"ok", b"\\ud800"),
        BODY.replace(b"Hello", b"\0"),
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
        BODY.decode().encode("utf-32"),
        BODY.decode().encode("utf-16-le"),
        BODY.decode().encode("utf-7").replace(b"{", b"+AHs-"),
    ],
)
def test_s12_only_utf_8_is_accepted(gateway: Gateway, upstream: Upstream, body: bytes):
    answer = gateway.ask("POST", CHAT, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert upstream.requests() == []


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [("POST", "text/plain", 415), ("POST", "application/xml", 415), ("PUT", "application/json", 405)],
)
def test_s22_a_refusal_comes_before_the_body_is_read(gateway: Gateway, method, kind, status):
    first = f"{method} {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\n"
    begun = time.monotonic()
    answer = send_raw(gateway.port, f"{first}Content-Length: 100000\r\n\r\n".encode())
    assert answer.status == status
    assert time.monotonic() - begun < 2


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
    lines += [f"x-forwarded-for: {address}", f"x-api-key: {key}", "Content-Type: application/json"]
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
    assert first.memory + second.memory < 10 * MIB
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


def test_s13_half_requests_do_not_harm_other_callers(target: Gateway):
    """Connections that send a byte and wait take threads; those who ask are served meanwhile."""
    waiting = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(6)]
    try:
        for sock in waiting:
            sock.sendall(b"G")
        assert {target.chat("ok").status for _ in range(20)} == {200}
    finally:
        for sock in waiting:
            sock.close()
    assert until(lambda: target.ask("GET", "/health").status == 200)
