"""Every way to an upstream, under real gunicorn: proxies of each kind, client certificates, a Unix socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.gateways import KEY, StartGateway
from kit.proxies import ProxyServer, UnixServer
from kit.servers import Gateway, Upstream
from kit.tls import TLSRelay, make_certificate
from kit.wire import Answer, Stream, ask, open_stream

pytestmark = pytest.mark.live

CREDENTIALS = "gateway:s3cret-of-the-proxy"
#: Threads of the worker; more streams than that run at once.
THREADS = 4
USAGE = {"stream_options": {"include_usage": True}}


class Ways(NamedTuple):
    """The servers between the gateway and the scripted upstream."""

    http: ProxyServer
    tls: ProxyServer
    socks: ProxyServer
    gateway: Gateway
    folder: Path


@pytest.fixture(scope="module")
def ways(
    tmp_path_factory: pytest.TempPathFactory, start_gateway: StartGateway, scripted: Upstream
) -> Iterator[Ways]:
    server, client = (tmp_path_factory.mktemp(name) for name in ("server", "client"))
    certificate, _ = make_certificate(server), make_certificate(client)
    http, socks = ProxyServer(credentials=CREDENTIALS), ProxyServer(socks=True, credentials=CREDENTIALS)
    tls_proxy = ProxyServer(certificate=certificate)
    upstream = TLSRelay(certificate, scripted.port)
    strict = TLSRelay(certificate, scripted.port, clients=client / "certificate.pem")
    unix = UnixServer(server / "model.sock", scripted.port)
    shown = f'client_cert = "{client}/certificate.pem"\nclient_key = "{client}/key.pem"'
    tables = {
        "forwarded": f'url = "http://model.example:{scripted.port}"\nproxy_env = "PROXY_HTTP"',
        "connect": f'url = "{upstream.url}"\nproxy_env = "PROXY_HTTP"',
        "socks": f'url = "http://model.example:{scripted.port}"\nproxy_env = "PROXY_SOCKS"',
        "sockstls": f'url = "{upstream.url}"\nproxy_env = "PROXY_SOCKS"',
        "tlsproxy": f'url = "http://model.example:{scripted.port}"\nproxy = "{tls_proxy.url}"',
        "tlsintls": f'url = "{upstream.url}"\nproxy = "{tls_proxy.url}"',
        "mutual": f'url = "{strict.url}"\n{shown}',
        "mutualproxy": f'url = "{strict.url}"\nproxy_env = "PROXY_HTTP"\n{shown}',
        "stranger": f'url = "{strict.url}"',
        "unix": f'url = "{unix.url}"',
        "nosocket": 'url = "http+unix://%2Fnowhere%2Fmodel.sock"',
        "direct": f'url = "{scripted.url}"',
    }
    lines = [f'ca_file = "{certificate}"', "request_timeout_seconds = 5", "rate_limit_per_minute = 0"]
    lines += ["circuit_breaker_max_failures = 1000000", 'default_upstream = "direct"']
    lines += [f"[upstreams.{name}]\n{table}" for name, table in tables.items()]
    for name in tables:
        lines.append(
            f'[models."spared-{name}"]\ntiers = [[{{upstream = "{name}", model = "ok"}}], ["direct/ok"]]'
        )
    file = server / "gateway.toml"
    file.write_text("\n".join(lines))
    gateway = start_gateway(
        GATEWAY_CONFIG=str(file),
        GATEWAY_API_KEYS=KEY,
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_WORKERS="1",
        PROXY_HTTP=http.url,
        PROXY_SOCKS=socks.url,
    )
    yield Ways(http, tls_proxy, socks, gateway, server)
    for each in (http, socks, tls_proxy, upstream, strict, unix):
        each.stop()


NAMES = ("forwarded", "connect", "socks", "sockstls", "tlsproxy", "tlsintls", "mutual", "mutualproxy", "unix")


def chat(gateway: Gateway, model: str) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return ask(gateway.port, "POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_streams_pass_unchanged(ways: Ways, upstream: Upstream, name: str) -> None:
    answer = chat(ways.gateway, f"{name}/ok")
    assert (answer.status, answer.headers.get("x-gateway-upstream")) == (200, name), answer.body
    whole = upstream.stream("ok,tokens=9,pause=0.01")
    with open_stream(ways.gateway.port, KEY, f"{name}/ok,tokens=9,pause=0.01", **USAGE) as stream:
        assert stream.read() == whole
    large = upstream.stream("huge-event,size=300000")
    with open_stream(ways.gateway.port, KEY, f"{name}/huge-event,size=300000", **USAGE) as stream:
        assert stream.read() == large


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_that_breaks_says_so(ways: Ways, upstream: Upstream, name: str) -> None:
    with open_stream(ways.gateway.port, KEY, f"{name}/cut,after=2") as stream:
        body = stream.read()
    assert b"upstream_stream_cut" in body
    assert b"[DONE]" not in body


@pytest.mark.parametrize("name", NAMES)
def test_more_streams_than_threads(ways: Ways, upstream: Upstream, name: str) -> None:
    model, count = "ok,tokens=9,pause=0.05", 2 * THREADS
    whole = upstream.stream("ok,tokens=9")
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        opened = [
            stack.enter_context(open_stream(ways.gateway.port, KEY, f"{name}/{model}", **USAGE))
            for _ in range(count)
        ]
        assert list(pool.map(Stream.read, opened)) == [whole] * count


def test_the_proxies_were_asked_for_what_they_should_be(ways: Ways, upstream: Upstream) -> None:
    for name in NAMES:
        assert chat(ways.gateway, f"{name}/ok").status == 200
    path = "/v1/chat/completions"
    assert f"POST http://model.example:{upstream.port}{path}" in ways.http.asked
    assert f"POST http://model.example:{upstream.port}{path}" in ways.tls.asked
    assert f"SOCKS model.example:{upstream.port}" in ways.socks.asked
    assert any(one.startswith("CONNECT 127.0.0.1:") for one in ways.http.asked)
    assert any(one.startswith("CONNECT 127.0.0.1:") for one in ways.tls.asked)
    # The upstream never sees the proxy's credentials.
    assert not any("proxy" in name.lower() for one in upstream.requests() for name, _ in one["headers"])


@pytest.mark.parametrize(
    ("name", "status", "code", "words"),
    [
        ("connect", 407, "upstream_misconfigured", "its proxy asks for other credentials"),
        ("forwarded", 407, "upstream_misconfigured", "its proxy asks for other credentials"),
        ("connect", 403, "upstream_misconfigured", "its proxy does not allow it (403)"),
        ("connect", 503, "upstream_unreachable", "could not be reached by its proxy (503)"),
        ("socks", 403, "upstream_misconfigured", "its rules do not allow that"),
    ],
)
def test_a_proxy_that_refuses(
    ways: Ways, start_gateway: StartGateway, name: str, status: int, code: str, words: str
) -> None:
    proxy = ways.socks if name == "socks" else ways.http
    proxy.status = status
    try:
        # A new connection: one through the proxy may be idle in the pool.
        error = None
        for _ in range(20):
            answer = chat(ways.gateway, f"{name}/hang-up")
            error = answer.error if answer.status != 200 else error
            if error is not None and error["code"] == code:
                break
        assert error is not None
        assert (error["code"], words in error["message"]) == (code, True), error
        assert "s3cret" not in json.dumps(error)
        spared = chat(ways.gateway, f"spared-{name}")
        assert (spared.status, spared.headers["x-gateway-upstream"]) == (200, "direct"), spared.body
    finally:
        proxy.status = 200
    assert chat(ways.gateway, f"{name}/ok").status == 200


@pytest.mark.parametrize("name", ["stranger", "nosocket"])
def test_a_way_that_does_not_exist_fails_over(ways: Ways, upstream: Upstream, name: str) -> None:
    """A server that wants a certificate and gets none; a socket that is not there."""
    answer = chat(ways.gateway, f"{name}/ok")
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable"), answer.error
    spared = chat(ways.gateway, f"spared-{name}")
    assert (spared.status, spared.headers["x-gateway-upstream"]) == (200, "direct")


def test_the_host_header_of_each_way(ways: Ways, upstream: Upstream) -> None:
    for name, host in (("unix", "localhost"), ("forwarded", f"model.example:{upstream.port}")):
        chat(ways.gateway, f"{name}/ok")
        assert dict(upstream.last()["headers"])["Host"] == host
