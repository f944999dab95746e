"""Attacks the shipped nginx site and the gateway behind it together.

Covers S5, S19, S20 and S23 of docs/security.md. The tests of other lines run directly and through nginx.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from kit.gateways import KEY
from kit.hostile import PLANTED
from kit.nginx import Nginx
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import TIMEOUT, Answer, ask, content, open_stream

pytestmark = pytest.mark.live

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def front(target: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The shipped site in front of a gateway with default settings."""
    server = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{target.port}")
    yield server
    server.stop()


def ask_from(address: str, port: int, key: str) -> Answer:
    """Ask for the models from another address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, source_address=(address, 0))
    try:
        connection.request("GET", "/v1/models", headers={"x-api-key": key})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def test_s5_no_upstream_controls_the_proxy(nginx: Nginx):
    """If an X-Accel header arrived, nginx would serve another file, or take a minute."""
    body = {"model": "talkative", "messages": [{"role": "user", "content": "Hello"}]}
    answer = ask(nginx.port, "POST", CHAT, body, {"x-api-key": KEY})
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "tok0 tok1 tok2 "
    with open_stream(nginx.port, KEY, "talkative") as stream:
        streamed = stream.headers
        assert content(stream.data()) == "tok0 tok1 tok2 "
    for headers in (answer.headers, streamed):
        assert not [name for name in headers if name.startswith("x-accel") and name != "x-accel-buffering"]
        assert "secret" not in str(headers)


def test_s20_wrong_keys_through_the_proxy_block_no_right_key(front: Nginx):
    guesses = [ask_from("127.0.0.21", front.port, f"guess-{number}") for number in range(150)]
    assert [guess.status for guess in guesses[:61]] == [401] * 60 + [429]
    assert {guess.error["code"] for guess in guesses[60:]} == {"too_many_failed_keys"}
    assert {ask_from("127.0.0.21", front.port, KEY).status for _ in range(20)} == {200}
    assert {ask_from("127.0.0.22", front.port, KEY).status for _ in range(20)} == {200}


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("headed,count=10000", "upstream_malformed"),
        ("headed,size=65600", "upstream_malformed"),
        ("bomb", "upstream_malformed"),
        ("endless-error", "upstream_error"),
        ("away", "upstream_misconfigured"),
        ("upgrade", "upstream_misconfigured"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_s23_the_gateways_own_errors_pass_the_proxy(front: Nginx, victim, behaviour, code, stream):
    """The proxy does not replace the error with its own page."""
    model = f"{victim()}/{behaviour}"
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    answer = ask(front.port, "POST", CHAT, body, {"x-api-key": KEY})
    assert (answer.status, answer.error["code"]) == (502, code)
    assert PLANTED not in str(answer)


def test_an_endless_event_ends_the_stream_at_the_proxy_too(front: Nginx, target: Gateway, victim):
    with open_stream(front.port, KEY, f"{victim()}/endless,after=2") as stream:
        *words, end = stream.data()
    assert content(words) == "tok0 tok1 "
    assert '"upstream_malformed"' in end
    assert until(lambda: target.ask("GET", "/health").status == 200)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/admin",
        "/key/generate",
        "/v1/organization/costs",
        "/debug",
        "/server-status",
        "/nginx_status",
    ],
)
def test_s19_no_hidden_route_is_reachable_from_outside(front: Nginx, path: str):
    assert ask(front.port, "GET", path, headers={"x-api-key": KEY}).status == 404
