"""WebSocket sessions through a running gateway: what passes, what counts, how each side learns of an end."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.scrape import figures
from kit.sdks import openai
from kit.servers import Gateway
from kit.session_upstream import USAGE, SessionUpstream
from kit.waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

KEYS = {name: f"sk-{name}-0123456789abcdef" for name in ("plain", "slow", "poor", "single", "narrow")}
UPSTREAM_KEY = "up-0123456789abcdef"
SETTINGS = """
rate_limit_per_minute = 0
[keys.plain]
key_env = "KEY_PLAIN"
[keys.slow]
key_env = "KEY_SLOW"
rate_limit_per_minute = 3
[keys.poor]
key_env = "KEY_POOR"
budgets = [{ amount = "0.000001", window = "day", strict = true }]
[keys.single]
key_env = "KEY_SINGLE"
concurrent = 1
[keys.narrow]
key_env = "KEY_NARROW"
models = ["other"]
[ledger]
data = "{data}"
[upstreams.live]
url = "{url}"
api_key_env = "KEY_UPSTREAM"
speaks = ["chat/completions", "responses", "realtime", "responses/websocket"]
[upstreams.text]
url = "{url}"
api_key_env = "KEY_UPSTREAM"
[models.voice]
upstream = "live"
model = "gpt-realtime"
[models.other]
upstream = "text"
[prices."live/gpt-realtime"]
input = 4
output = 16
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[SessionUpstream]:
    upstream = SessionUpstream()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(upstream: SessionUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = started(upstream, tmp_path_factory.mktemp("sessions"), workers=2)
    yield gateway
    gateway.stop()


def started(upstream: SessionUpstream, folder: Path, workers: int) -> Gateway:
    (folder / "data").mkdir()
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.replace("{url}", upstream.url).replace("{data}", str(folder / "data")))
    keys = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    env = {"GATEWAY_CONFIG": str(file), "KEY_UPSTREAM": UPSTREAM_KEY, "GATEWAY_WORKERS": str(workers)}
    return Gateway(folder, KEYS["plain"], {**keys, **env})


@pytest.fixture(autouse=True)
def _reset(upstream: SessionUpstream) -> None:
    until(lambda: not upstream.open)
    upstream.reset()


def session(
    gateway: Gateway, key: str = "plain", path: str = "/v1/realtime?model=voice", **more: Any
) -> ClientConnection:
    headers = {"Authorization": f"Bearer {KEYS[key]}"}
    return connect(f"ws://127.0.0.1:{gateway.port}{path}", additional_headers=headers, **more)


def heard(connection: ClientConnection) -> dict[str, Any]:
    return json.loads(connection.recv(timeout=20))


def say(connection: ClientConnection, kind: str, **fields: Any) -> None:
    connection.send(json.dumps({"type": kind, **fields}))


def refused(gateway: Gateway, path: str, key: str | None = "plain") -> tuple[int, str]:
    headers = {} if key is None else {"Authorization": f"Bearer {KEYS[key]}"}
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{gateway.port}{path}", additional_headers=headers)
    answer = caught.value.response
    return answer.status_code, str(json.loads(answer.body)["error"]["code"])


def closed(connection: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """The code of the close frame, and the events before it."""
    events = []
    while True:
        try:
            events.append(heard(connection))
        except ConnectionClosed:
            return connection.close_code or 1006, events


# ------------------------------------------------------------------ what passes


@pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used:DeprecationWarning"
)  # the client of openai itself
def test_the_openai_client_finishes_a_session(gateway: Gateway, upstream: SessionUpstream):
    client = openai.OpenAI(api_key=KEYS["plain"], base_url=f"{gateway.url}/v1")
    with client, client.realtime.connect(model="voice") as connection:
        assert connection.recv().type == "session.created"
        connection.response.create(event_id="event-1")
        kinds = [connection.recv().type for _ in range(3)]
    assert kinds == ["response.created", "response.output_text.delta", "response.done"]
    path, headers = upstream.requests[0]
    assert path == "/v1/realtime?model=gpt-realtime"
    assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert "sec-websocket-extensions" not in headers
    assert until(lambda: upstream.ends == [1000])


def test_each_response_is_logged_with_its_usage_and_the_session_by_itself(gateway: Gateway):
    with session(gateway) as connection:
        assert connection.response is not None
        request = connection.response.headers["x-request-id"]
        heard(connection)
        say(connection, "response.create")
        for _ in range(3):
            heard(connection)
    line = gateway.logged(f"{request}.1")
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (100, 20, 40)
    assert (line["method"], line["path"], line["upstream_model"]) == ("POST", "/v1/realtime", "gpt-realtime")
    line = gateway.logged(request)
    assert (line["method"], line["status"], line["outcome"]) == ("GET", 101, "success")


def test_large_fragmented_and_control_frames_pass_unchanged(gateway: Gateway, upstream: SessionUpstream):
    audio = "A" * 64_000
    with session(gateway, max_size=None) as connection:
        heard(connection)
        text = json.dumps({"type": "test.echo", "audio": audio})
        connection.send([text[:10], text[10:50_000], text[50_000:]])
        assert heard(connection) == {"type": "test.echo", "audio": audio}
        assert connection.ping().wait(20)
        big = {"type": "test.echo", "audio": "B" * 3_000_000}
        connection.send(json.dumps(big))
        assert heard(connection) == big


def test_a_session_has_one_model(gateway: Gateway, upstream: SessionUpstream):
    with session(gateway) as connection:
        heard(connection)
        say(connection, "session.update", session={"model": "dearer"}, event_id="e1")
        error = heard(connection)["error"]
        assert (error["param"], error["event_id"]) == ("session.model", "e1")
        say(connection, "session.update", session={"model": "voice", "voice": "ash"})
        say(connection, "test.echo")
        heard(connection)
    assert upstream.heard[0] == {
        "type": "session.update",
        "session": {"model": "gpt-realtime", "voice": "ash"},
    }


def test_codex_finishes_a_tool_turn_over_websocket(gateway: Gateway, upstream: SessionUpstream):
    with session(gateway, path="/v1/responses") as connection:
        for number, more in enumerate(({"generate": False}, {"previous_response_id": "resp_1"}, {})):
            say(connection, "response.create", model="voice", stream=True, input=[{"role": "user"}], **more)
            assert [heard(connection)["type"] for _ in range(3)][-1] == "response.completed", number
    assert [event["model"] for event in upstream.heard] == ["gpt-realtime"] * 3
    assert upstream.heard[1]["previous_response_id"] == "resp_1"
    assert upstream.requests[0][0] == "/v1/responses"


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("/v1/realtime?model=voice", None, (401, "invalid_api_key")),
        ("/v1/realtime", "plain", (400, "None")),
        ("/v1/realtime?model=voice", "narrow", (403, "model_not_allowed")),
        ("/v1/realtime?model=other", "plain", (400, "unsupported_operation")),
        ("/v1/embeddings", "plain", (426, "websocket_not_offered")),
    ],
)
def test_refusals_before_the_upgrade_are_http(gateway: Gateway, path: str, key: str | None, expected: Any):
    status, code = refused(gateway, path, key)
    assert status == expected[0]
    assert key is None or code == expected[1]


def test_a_browser_sends_its_key_as_a_subprotocol(gateway: Gateway):
    protocols: Any = ["realtime", f"openai-insecure-api-key.{KEYS['plain']}"]
    with connect(
        f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=voice", subprotocols=protocols
    ) as connection:
        assert connection.subprotocol == "realtime"
        assert heard(connection)["type"] == "session.created"


def test_over_its_rate_limit_a_session_gets_an_error_and_ends(gateway: Gateway, upstream: SessionUpstream):
    """Opening counts, a response that is asked for counts, and one after speech counts."""
    with session(gateway, "slow") as connection:
        heard(connection)
        for kind in ("response.create", "input_audio_buffer.commit"):
            say(connection, kind)
            assert [heard(connection)["type"] for _ in range(3)][-1] == "response.done"
        # A thread counts the response after speech. Its line in the log comes later than that.
        assert until(lambda: sum('"key":"slow"' in line for line in gateway.stderr.splitlines()) == 2)
        say(connection, "response.create")
        code, events = closed(connection)
    assert (code, events[-1]["error"]["code"]) == (1008, "rate_limit_exceeded")
    assert [event["type"] for event in upstream.heard] == ["response.create", "input_audio_buffer.commit"]
    assert until(lambda: upstream.ends == [1001])


def test_a_budget_covers_each_response(gateway: Gateway):
    with session(gateway, "poor") as connection:
        heard(connection)
        say(connection, "response.create")
        code, events = closed(connection)
    assert (code, events[-1]["error"]["code"]) == (1008, "insufficient_quota")


def test_a_session_of_responses_is_refused_by_an_event(gateway: Gateway):
    with session(gateway, path="/v1/responses") as connection:
        say(connection, "response.create", model="other")
        code, events = closed(connection)
    assert (code, events[0]["status"], events[0]["error"]["code"]) == (1008, 400, "unsupported_operation")


def test_an_upstream_that_refuses_a_response_costs_nothing(gateway: Gateway):
    with session(gateway) as connection:
        assert connection.response is not None
        request = connection.response.headers["x-request-id"]
        heard(connection)
        say(connection, "test.refuse")
        say(connection, "response.create", event_id="e9")
        assert heard(connection)["type"] == "error"
        say(connection, "response.create")
        assert [heard(connection)["type"] for _ in range(3)][-1] == "response.done"
    assert "prompt_tokens" not in gateway.logged(f"{request}.1")
    assert gateway.logged(f"{request}.2")["prompt_tokens"] == USAGE["input_tokens"]


# ------------------------------------------------------------------ how each side learns of an end


def test_an_upstream_that_is_cut_is_told_to_the_caller(gateway: Gateway):
    with session(gateway) as connection:
        heard(connection)
        say(connection, "test.cut")
        code, events = closed(connection)
    assert (code, events[-1]["error"]["code"]) == (1011, "upstream_stream_cut")


def test_an_upstream_that_closes_passes_its_code(gateway: Gateway):
    with session(gateway) as connection:
        heard(connection)
        say(connection, "test.close")
        assert closed(connection) == (1000, [])


def test_a_caller_that_is_gone_is_told_to_the_upstream(gateway: Gateway, upstream: SessionUpstream):
    with session(gateway) as connection:
        assert connection.response is not None
        request = connection.response.headers["x-request-id"]
        heard(connection)
        say(connection, "test.hold")
        heard(connection)
        connection.socket.shutdown(socket.SHUT_RDWR)
    assert until(lambda: upstream.ends == [1001])
    assert gateway.logged(request)["status"] == 499


@pytest.mark.parametrize("end", ["closed", "upstream cut", "caller gone"])
def test_the_slot_of_a_session_comes_back(gateway: Gateway, end: str):
    def opens() -> bool:
        try:
            with session(gateway, "single"):
                return True
        except InvalidStatus:
            return False

    assert until(opens)  # a session before has given it back
    with session(gateway, "single") as connection:
        heard(connection)
        assert refused(gateway, "/v1/realtime?model=voice", "single") == (429, "rate_limit_exceeded")
        if end == "upstream cut":
            say(connection, "test.cut")
        elif end == "caller gone":
            connection.socket.shutdown(socket.SHUT_RDWR)
    assert until(opens)


def test_open_sessions_are_shown(gateway: Gateway):
    assert until(lambda: figures(gateway, "realtime_sessions")[""] == 0)
    with session(gateway) as connection:
        heard(connection)
        assert until(lambda: figures(gateway, "realtime_sessions")[""] == 1)
    assert until(lambda: figures(gateway, "realtime_sessions")[""] == 0)


def threads(gateway: Gateway) -> int:
    return sum(len(os.listdir(f"/proc/{worker}/task")) for worker in gateway.workers)


def test_idle_sessions_hold_no_thread(gateway: Gateway):
    with ExitStack() as stack:
        for _ in range(8):  # each worker has started what it starts once
            heard(stack.enter_context(session(gateway)))
        before = threads(gateway)
        for _ in range(40):
            heard(stack.enter_context(session(gateway)))
        assert threads(gateway) < before + 30


def test_a_killed_worker_and_a_stopping_one(upstream: SessionUpstream, tmp_path: Path):
    """Both ends of a killed worker's sessions see it, and the slot is free; a stopping one says 1012."""
    gateway = started(upstream, tmp_path, workers=1)
    try:
        with session(gateway, "single") as connection:
            heard(connection)
            (worker,) = gateway.workers
            os.kill(worker, signal.SIGKILL)
            assert closed(connection)[0] == 1006
        assert until(lambda: upstream.ends == [1006])
        assert until(lambda: gateway.workers and gateway.workers != [worker])
        with session(gateway, "single") as connection:
            heard(connection)
            gateway.terminate()
            code, events = closed(connection)
        assert (code, events[-1]["error"]["code"]) == (1012, "server_shutdown")
        assert until(lambda: upstream.ends == [1006, 1001])
    finally:
        gateway.stop()
