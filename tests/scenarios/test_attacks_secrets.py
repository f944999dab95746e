"""Tests S1 of docs/security.md: upstreams' keys, from each place where an operator may keep them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.gateways import KEY, UPSTREAM_KEY, StartGateway
from kit.process_files import metrics_files, processes, shared_memory
from kit.servers import ROOT, Gateway, Upstream, headers_of
from kit.wire import content, open_stream, send_header_lines

pytestmark = pytest.mark.live

SECRET = "planted-file-key-90d3"


class Place(NamedTuple):
    """The lines of the settings file about the key, and the environment of the server."""

    said: str
    environ: dict[str, str]
    #: Whether the operator has put the key into the environment.
    in_environ: bool = False


def place_of(kind: str, folder: Path) -> Place:
    if kind == "variable":
        return Place('api_key_env = "THE_KEY"', {"THE_KEY": SECRET}, in_environ=True)
    path = folder / ("credentials/key_llama" if kind == "credential" else "llama.key")
    path.parent.mkdir(exist_ok=True)
    path.write_text(SECRET + "\n")
    path.chmod(0o400)
    # systemd gives an absolute path; next to the file a relative one works.
    return Place(f'api_key_file = "{path if kind == "credential" else path.name}"', {})


LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in ("variable", "credential")]


@pytest.fixture(params=["file", *LONG])
def place(request: pytest.FixtureRequest, tmp_path: Path, scripted: Upstream) -> Place:
    found = place_of(request.param, tmp_path)
    file = tmp_path / "gateway.toml"
    digest = sha256(KEY.encode()).hexdigest()
    file.write_text(
        f'[upstreams.llama]\nurl = "{scripted.url}"\n{found.said}\n[keys.web]\nsha256 = "{digest}"\n'
    )
    file.chmod(0o600)
    return found._replace(environ={**found.environ, "GATEWAY_CONFIG": str(file)})


def everything_to_be_seen(gateway: Gateway) -> list[bytes]:
    pids = processes(gateway)
    seen = [gateway.stderr.encode(), send_header_lines(gateway.port, target=b"GET /metrics").body]
    seen += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    seen += [
        Path(path).read_bytes() for path in shared_memory(gateway) if "settings" not in os.readlink(path)
    ]
    seen += [file.read_bytes() for file in metrics_files(gateway)]
    paths = ("/v1/models", "/v1/circuit-breakers", "/v1/routes/ok", "/readyz", "/openapi.json", "/nothing")
    return seen + [gateway.ask("GET", path).body for path in paths]


def test_s1_an_upstreams_key_is_sent_to_that_upstream_only(
    start_gateway: StartGateway, upstream: Upstream, place: Place
):
    gateway = start_gateway(**place.environ, GATEWAY_WORKERS="1")
    answers = [gateway.chat("llama/ok")]
    assert headers_of(upstream.last())["authorization"] == f"Bearer {SECRET}"
    faults = (
        "status,code=401",
        "status,code=403",
        "status,code=500",
        "hang-up",
        "html,code=500",
        "talkative",
    )
    answers += [gateway.chat(f"llama/{fault}") for fault in faults]
    gateway.reload()
    answers.append(gateway.chat("llama/ok"))
    assert headers_of(upstream.last())["authorization"] == f"Bearer {SECRET}"

    seen = [*everything_to_be_seen(gateway), *(json.dumps(answer.headers).encode() for answer in answers)]
    seen += [answer.body for answer in answers]
    if not place.in_environ:
        seen += [Path(f"/proc/{pid}/environ").read_bytes() for pid in processes(gateway)]
    assert len(seen) > 20
    for secret in (SECRET, KEY):
        assert not [one[:200] for one in seen if secret.encode() in one]


@pytest.mark.parametrize("code", [200, 400, 404, 409, 422, 429, 402, 500])
@pytest.mark.parametrize("stream", [False, True])
def test_s1_a_key_repeated_by_the_upstream_is_removed(gateway: Gateway, code: int, stream: bool):
    answer = gateway.chat(f"echo,code={code},stream={stream}", stream=stream)
    assert answer.status in ((200,) if code == 200 else (code, 502))
    assert UPSTREAM_KEY.encode() not in answer.body
    assert UPSTREAM_KEY not in json.dumps(answer.headers)
    if code in (200, 400, 404, 409, 422, 429):
        assert b"You sent Bearer [redacted], thank you." in answer.body
    assert UPSTREAM_KEY not in gateway.stderr


@pytest.mark.parametrize("cut", ["torn=1", "torn=7", "torn=16", "torn=40"])
def test_s1_a_key_repeated_in_small_writes_is_removed(gateway: Gateway, cut: str):
    with open_stream(gateway.port, KEY, f"echo,{cut}") as stream:
        data = list(stream.data())
    assert content(data) == "You sent Bearer [redacted], thank you."
    assert data[-1] == "[DONE]"


@pytest.mark.parametrize("size", [1, 3, 4, 8, 13, 24])
def test_s1_a_key_spelled_out_over_events_is_removed(gateway: Gateway, size: int):
    with open_stream(gateway.port, KEY, f"echo,spelled={size},pause=0.02") as stream:
        data = list(stream.data())
    seen = content([item for item in data if '"error"' not in item])
    assert len(UPSTREAM_KEY) > 12
    assert UPSTREAM_KEY[:6] not in seen
    assert "[DONE]" not in data
    assert '"upstream_malformed"' in data[-1]


@pytest.mark.parametrize("place", ["file"], indirect=True)
@pytest.mark.parametrize("command", [["check"], ["explain", "llama/ok"]])
def test_s1_no_command_shows_an_upstreams_key(place: Place, command: list[str]):
    done = subprocess.run(
        [sys.executable, "-m", "flask_gateway", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **place.environ},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert "llama" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try it as somebody else")
@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_s1_no_other_user_reads_the_servers_copy_of_the_key(start_gateway: StartGateway, place: Place):
    """The settings lie in anonymous memory. Only the owner can reach it through /proc."""
    gateway = start_gateway(**place.environ, GATEWAY_WORKERS="1")
    kept = [path for path in shared_memory(gateway) if "settings" in os.readlink(path)]
    assert kept
    for path in kept:
        command = ["/bin/dd", f"if={path}", "of=/dev/null", "count=1"]
        somebody = subprocess.run(command, user=65534, group=65534, capture_output=True, check=False)
        assert b"Permission denied" in somebody.stderr
