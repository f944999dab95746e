"""Runs ``deploy/smoke.sh`` against healthy and faulty gateways."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from kit.gateways import KEY
from kit.needs import need
from kit.nginx import Nginx
from kit.servers import Gateway, Upstream, free_port
from kit.smoke_script import CHECKS, smoke

pytestmark = pytest.mark.live


@pytest.mark.parametrize("model", [None, "mock", "scripted"])
def test_a_healthy_gateway_passes(gateway: Gateway, model):
    code, lines, _ = smoke(gateway.url, KEY, *([model] if model else []))
    assert code == 0, lines
    assert [line[:5] for line in lines] == ["ok   "] * len(CHECKS)
    for line, check in zip(lines, CHECKS, strict=True):
        assert check in line


def test_a_key_without_a_limit_passes(strict: Gateway):
    code, lines, _ = smoke(strict.url, "key-free", "mock")
    assert code == 0, lines


@pytest.mark.parametrize("tls", [False, True])
def test_a_gateway_behind_nginx_passes(nginx: Nginx, tls: bool, monkeypatch):
    monkeypatch.setenv("CURL_CA_BUNDLE", str(nginx.certificate))
    code, lines, _ = smoke(f"{nginx.tls_url if tls else nginx.url}/", KEY, "scripted")
    assert code == 0, lines
    assert len(lines) == len(CHECKS)


def test_the_key_is_on_no_command_line(gateway: Gateway, tmp_path: Path, monkeypatch):
    need("curl")
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/seen\nexec {shutil.which("curl")} "$@"\n')
    curl.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert smoke(gateway.url, KEY, "mock")[0] == 0
    seen = (tmp_path / "seen").read_text()
    assert "/v1/chat/completions" in seen
    assert KEY not in seen


def test_a_wrong_key_fails(gateway: Gateway):
    code, lines, _ = smoke(gateway.url, "wrong-key")
    assert code == 1
    assert "FAIL models" in lines
    assert any("status 401" in line for line in lines)
    assert "wrong-key" not in "\n".join(lines)


def test_an_unreachable_gateway_fails():
    code, lines, _ = smoke(f"http://127.0.0.1:{free_port()}", KEY)
    assert code == 1
    assert lines[0] == "FAIL health"
    assert "Could not connect" in lines[-1] or "Failed to connect" in lines[-1]


@pytest.mark.parametrize(
    ("model", "check"), [("status,code=500", "completion"), ("once,code=502", "completion")]
)
def test_a_failing_model_fails(gateway: Gateway, upstream: Upstream, model, check):
    code, lines, _ = smoke(gateway.url, KEY, model)
    assert code == 1
    assert f"FAIL {check}" in lines
    assert not any("breakers" in line for line in lines)


def test_a_broken_stream_fails(gateway: Gateway, upstream: Upstream):
    upstream.script("ok", "cut,after=2")
    code, lines, _ = smoke(gateway.url, KEY, "scripted")
    assert code == 1
    assert "FAIL stream" in lines
    assert any("upstream_stream_cut" in line for line in lines)


class _Anything(BaseHTTPRequestHandler):
    """A server that is no gateway: it answers 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def anything() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Anything) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def test_a_server_without_authentication_fails(anything: str):
    code, lines, _ = smoke(anything, KEY)
    assert code == 1
    assert "FAIL refusal (none key)" in lines


@pytest.mark.parametrize("arguments", [[], ["http://x"], ["", "key"], ["a", "b", "c", "d"]])
def test_missing_arguments_show_the_usage(arguments):
    code, lines, error = smoke(*arguments)
    assert (code, lines) == (2, [])
    assert error.startswith("usage: ")
    assert "URL KEY [MODEL]" in error
