"""WebSocket sessions through a real nginx with the shipped site; each side learns of an end."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.nginx import SHIPPED, Nginx, directive_of, without_rates
from kit.sdks import openai
from kit.servers import Gateway
from kit.session_upstream import SessionUpstream
from kit.waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from flask_gateway.config.schema import Settings

pytestmark = pytest.mark.live

KEY = "sk-behind-nginx-0123456789abcdef"
THREADS = 8
SETTINGS = """
rate_limit_per_minute = 0
[keys.voice]
key_env = "KEY_VOICE"
[upstreams.live]
url = "{url}"
speaks = ["realtime", "responses/websocket"]
[models.voice]
upstream = "live"
model = "gpt-realtime"
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[SessionUpstream]:
    upstream = SessionUpstream()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(upstream: SessionUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("realtime-nginx")
    (folder / "gateway.toml").write_text(SETTINGS.replace("{url}", upstream.url))
    env = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), "KEY_VOICE": KEY, "GATEWAY_WORKERS": "1"}
    gateway = Gateway(folder, KEY, {**env, "GATEWAY_THREADS": str(THREADS)})
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def nginx(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{gateway.port}", without_rates)
    yield nginx
    nginx.stop()


@pytest.fixture(autouse=True)
def _reset(upstream: SessionUpstream) -> None:
    until(lambda: not upstream.open)
    upstream.reset()


def session(nginx: Nginx, path: str = "/v1/realtime?model=voice") -> ClientConnection:
    headers = {"Authorization": f"Bearer {KEY}"}
    return connect(f"ws://127.0.0.1:{nginx.port}{path}", additional_headers=headers)


def heard(connection: ClientConnection) -> dict[str, Any]:
    return json.loads(connection.recv(timeout=20))


def say(connection: ClientConnection, kind: str, **fields: Any) -> None:
    connection.send(json.dumps({"type": kind, **fields}))


def closed(connection: ClientConnection) -> int | None:
    """The code of the close frame that comes next."""
    with pytest.raises(ConnectionClosed):
        connection.recv(timeout=20)
    return connection.close_code


def test_nginx_waits_longer_than_a_session_may_be_silent():
    site = (SHIPPED / "sites-available" / "flask-gateway").read_text()
    waits = int(directive_of(site, "proxy_read_timeout").removesuffix("s"))
    assert waits > Settings(keys=(), upstreams=()).session_idle_seconds


@pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used:DeprecationWarning"
)  # the client of openai itself
def test_the_openai_client_finishes_a_session(nginx: Nginx, upstream: SessionUpstream):
    client = openai.OpenAI(api_key=KEY, base_url=f"{nginx.url}/v1")
    with client, client.realtime.connect(model="voice") as connection:
        assert connection.recv().type == "session.created"
        connection.response.create()
        kinds = [connection.recv().type for _ in range(3)]
    assert kinds == ["response.created", "response.output_text.delta", "response.done"]
    assert until(lambda: upstream.ends == [1000])


def test_a_session_of_responses_and_a_frame_of_64_kb_pass(nginx: Nginx):
    with session(nginx, "/v1/responses") as connection:
        say(connection, "response.create", model="voice", input="Hello")
        assert [heard(connection)["type"] for _ in range(3)][-1] == "response.completed"
    with session(nginx) as connection:
        heard(connection)
        say(connection, "test.echo", audio="A" * 65_000)
        assert len(heard(connection)["audio"]) == 65_000


def test_more_sessions_than_threads_hold_none_and_calls_pass(nginx: Nginx, gateway: Gateway):
    (worker,) = gateway.workers
    with ExitStack() as stack:
        for _ in range(3 * THREADS):
            heard(stack.enter_context(session(nginx)))
        assert gateway.ask("GET", "/v1/models").status == 200
        assert len(os.listdir(f"/proc/{worker}/task")) < 3 * THREADS


def test_each_side_learns_of_an_end(nginx: Nginx, upstream: SessionUpstream):
    with session(nginx) as connection:  # the upstream breaks
        heard(connection)
        say(connection, "test.cut")
        assert heard(connection)["error"]["code"] == "upstream_stream_cut"
        assert closed(connection) == 1011
    until(lambda: not upstream.open)
    upstream.reset()
    with session(nginx) as connection:  # the caller is gone
        heard(connection)
        connection.socket.shutdown(socket.SHUT_RDWR)
    assert until(lambda: upstream.ends == [1001])


def test_a_gateway_that_stops_says_1012(upstream: SessionUpstream, tmp_path: Path):
    file = tmp_path / "gateway.toml"
    file.write_text(SETTINGS.replace("{url}", upstream.url))
    gateway = Gateway(tmp_path, KEY, {"GATEWAY_CONFIG": str(file), "KEY_VOICE": KEY, "GATEWAY_WORKERS": "1"})
    with ExitStack() as stack:
        stack.callback(gateway.stop)
        nginx = Nginx(tmp_path, f"127.0.0.1:{gateway.port}", without_rates)
        stack.callback(nginx.stop)
        with session(nginx) as connection:
            heard(connection)
            gateway.terminate()
            assert heard(connection)["error"]["code"] == "server_shutdown"
            assert closed(connection) == 1012
        assert until(lambda: upstream.ends == [1001])
