"""Runs ``python -m flask_gateway doctor`` through well and badly configured proxies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.nginx import Nginx, replaced
from kit.servers import ROOT, Gateway, Upstream, free_port
from kit.tls import TLSRelay, make_certificate

pytestmark = pytest.mark.live

#: Half a second of events.
SLOW = "ok,tokens=20,pause=0.025"
BODY = "262144"  # of the gateway fixture


def doctor(gateway: Gateway, *arguments: str, **env: str) -> tuple[int, dict[str, list[str]]]:
    """The exit status, and the lines by the first word of their subject."""
    settings = {"GATEWAY_BIND": f"127.0.0.1:{gateway.port}", "GATEWAY_MAX_BODY_BYTES": BODY}
    settings |= {"GATEWAY_API_KEYS": KEY, "GATEWAY_WORKERS": "2", "GATEWAY_THREADS": "8"}
    done = subprocess.run(
        [sys.executable, "-m", "flask_gateway", "doctor", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings, **env},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert KEY not in done.stdout + done.stderr
    lines: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        lines.setdefault(line[6:].partition(":")[0], []).append(line)
    return done.returncode, lines


@contextmanager
def nginx_with(gateway: Gateway, folder: Path, changes: dict[str, str]) -> Iterator[Nginx]:
    """The shipped site with these changes."""
    nginx = Nginx(folder, f"127.0.0.1:{gateway.port}", lambda site: replaced(site, changes))
    try:
        yield nginx
    finally:
        nginx.stop()


AGREED = {"client_max_body_size 16m": f"client_max_body_size {BODY}"}


def test_a_good_set_up_has_no_findings(gateway: Gateway, upstream: Upstream, tmp_path: Path):
    with nginx_with(gateway, tmp_path, AGREED) as nginx:
        code, lines = doctor(gateway, nginx.tls_url, "--model", SLOW, SSL_CERT_FILE=str(nginx.certificate))
    assert code == 0, lines
    looked_at = ["settings", "path", "clock", "keys", "addresses", "metrics", "connections", "state"]
    assert [*lines] == [*looked_at, "body size", "buffering", "files", "threads", "upstream mock"]
    assert [line for found in lines.values() for line in found if not line.startswith("ok    ")] == []
    assert "22 events came one by one" in lines["buffering"][0] or "23 events" in lines["buffering"][0]
    assert len(upstream.requests()) == 1


#: The findings behind an nginx that is configured for web pages.
PAGES = {
    "proxy_ignore_headers X-Accel-Redirect": "proxy_ignore_headers X-Accel-Buffering X-Accel-Redirect",
    "proxy_http_version 1.1": "proxy_http_version 1.0",
}


def test_a_proxy_that_buffers_streams_is_found(gateway: Gateway, tmp_path: Path):
    with nginx_with(gateway, tmp_path, AGREED | PAGES) as nginx:
        code, lines = doctor(gateway, nginx.url, "--model", SLOW)
    assert code == 1, lines
    (line,) = lines.pop("buffering")
    assert line.startswith("fail  buffering: 2")
    assert "events came at once" in line
    assert "-> a proxy buffers streams: respect X-Accel-Buffering" in line
    assert [line for found in lines.values() for line in found if line.startswith("fail")] == []


def test_a_proxy_with_a_smaller_body_limit_is_found(gateway: Gateway, tmp_path: Path):
    changes = {"client_max_body_size 16m": "client_max_body_size 100k"}
    with nginx_with(gateway, tmp_path, changes) as nginx:
        code, lines = doctor(gateway, nginx.url)
    assert lines["body size"][0].startswith(f"fail  body size: {BODY} bytes are refused")
    assert code == 1


def test_without_a_key_the_skipped_checks_are_named(gateway: Gateway):
    code, lines = doctor(gateway, gateway.url, GATEWAY_API_KEYS="", FLASK_GATEWAY_KEY="")
    assert code == 1, "an empty key is no setting"
    assert lines["settings"][0].startswith("fail  settings: GATEWAY_API_KEYS")
    assert "not checked without a key" in lines["body size, buffering"][0]


def test_without_a_model_the_mock_answers_the_stream(gateway: Gateway, nginx: Nginx):
    code, lines = doctor(gateway, nginx.url)
    assert code == 0
    assert f"accepts more than the gateway's {BODY} bytes" in lines["body size"][0]
    assert "22 events came one by one" in lines["buffering"][0] or "23 events" in lines["buffering"][0]


def test_a_new_installation_needs_no_flags(start_gateway: StartGateway, tmp_path: Path):
    """Its one upstream is the mock, and its key is the published one."""
    new = start_gateway("dev-key", GATEWAY_API_KEYS="dev-key", GATEWAY_WORKERS="1")
    new.secrets.discard("dev-key")  # a warning names it
    published = {"GATEWAY_API_KEYS": "dev-key", "GATEWAY_MAX_BODY_BYTES": "16777216"}
    for level, changes in (("ok", {}), ("fail", PAGES)):
        with nginx_with(new, tmp_path, changes) as nginx:
            _, lines = doctor(new, nginx.url, **published)
        assert lines["buffering"][0].startswith(f"{level:6}buffering: "), lines


def test_an_unreachable_gateway_is_reported(gateway: Gateway):
    code, lines = doctor(gateway, f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert lines["path"][0].startswith("fail  path: no answer at http://127.0.0.1:")
    assert "buffering" not in lines


def test_another_server_is_reported(gateway: Gateway, upstream: Upstream):
    code, lines = doctor(gateway, upstream.url)
    assert code == 1
    assert lines["path"][0].startswith("fail  path: ")


def test_an_untrusted_certificate_is_reported(gateway: Gateway, nginx: Nginx):
    code, lines = doctor(gateway, nginx.tls_url)
    assert code == 1
    assert "self-signed" in lines["certificate"][0]
    assert "SSL_CERT_FILE" in lines["certificate"][0]


def test_a_gateway_on_another_address_of_this_machine(gateway: Gateway):
    code, lines = doctor(gateway, gateway.url, GATEWAY_BIND=f"127.0.0.1:{free_port()}")
    assert code == 0
    assert "files" in lines
    assert "machine" not in lines


def test_upstreams_are_checked(gateway: Gateway, upstream: Upstream, tmp_path: Path):
    relay = TLSRelay(make_certificate(tmp_path), upstream.port)
    try:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            dead = silent.getsockname()[1]
            named = f"up={upstream.url};dead=http://127.0.0.1:{dead};secret={relay.url}"
            code, lines = doctor(gateway, GATEWAY_UPSTREAMS=named, GATEWAY_DEFAULT_UPSTREAM="up")
    finally:
        relay.stop()
    assert code == 1
    assert lines["upstream up"] == ["ok    upstream up: reachable"]
    assert lines["upstream dead"][0].startswith("fail  upstream dead: Connection refused  -> is it running")
    assert "its certificate is refused: self-signed" in lines["upstream secret"][0]
    assert upstream.requests() == [], "no token was spent"
