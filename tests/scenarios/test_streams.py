"""Checks streams: events pass one by one, and a broken stream never looks complete."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from statistics import median

import pytest
from kit.gateways import KEY
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import content, open_stream

pytestmark = pytest.mark.live


@pytest.fixture(params=["relay", "threads"], scope="module")
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Every test runs with the relay and with gunicorn's own worker: the caller sees no difference."""
    name = {"relay": "gateway", "threads": "plain_gateway"}[request.param]
    found: Gateway = request.getfixturevalue(name)
    return found


def test_a_stream_arrives_in_full(gateway: Gateway):
    with open_stream(gateway.port, KEY, "ok,tokens=4", stream_options={"include_usage": True}) as stream:
        data = stream.data()
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["x-gateway-upstream"] == "scripted"
    assert "content-length" not in stream.headers
    assert content(data) == "tok0 tok1 tok2 tok3 "
    assert json.loads(data[-2])["usage"]["total_tokens"] == 8
    assert data[-1] == "[DONE]"


def test_events_arrive_one_by_one(gateway: Gateway):
    with open_stream(gateway.port, KEY, "ok,tokens=5,pause=0.1") as stream:
        times = [moment for moment, data in stream.events() if "tok" in data]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 5
    # One event may come late on a busy machine, and the next soon after it.
    assert median(gaps) > 0.05, gaps
    assert times[-1] - times[0] > 0.2, gaps


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_every_framing_of_the_upstream_is_read(gateway: Gateway, framing):
    with open_stream(gateway.port, KEY, f"ok,framing={framing},pause=0.01") as stream:
        data = stream.data()
    assert content(data) == "tok0 tok1 tok2 "
    assert data[-1] == "[DONE]"
    assert gateway.chat(f"ok,framing={framing}").json["choices"][0]["message"]["content"] == "tok0 tok1 tok2 "


def test_a_caller_with_http_1_0_gets_the_stream(gateway: Gateway):
    with open_stream(gateway.port, KEY, "ok,pause=0.02", version="1.0") as stream:
        data = stream.data()
    assert "transfer-encoding" not in stream.headers
    assert content(data) == "tok0 tok1 tok2 "
    assert data[-1] == "[DONE]"


@pytest.mark.parametrize("behaviour", ["drip", "drip,framing=close"])
def test_an_upstream_that_drips_is_read(gateway: Gateway, behaviour):
    with open_stream(gateway.port, KEY, behaviour) as stream:
        data = stream.data()
    assert content(data) == "tok0 tok1 tok2 "
    assert gateway.chat(behaviour).status == 200


def test_a_tool_call_streams_through(gateway: Gateway):
    with open_stream(gateway.port, KEY, "tools") as stream:
        data = stream.data()
    deltas = [json.loads(item)["choices"][0]["delta"] for item in data[:-1]]
    calls = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    assert "".join(call["arguments"] for call in calls) == '{"city":"Oslo"}'


def test_a_missing_done_is_added_when_the_model_has_finished(gateway: Gateway):
    for framing in ("chunked", "close"):
        with open_stream(gateway.port, KEY, f"no-done,framing={framing}") as stream:
            data = stream.data()
        assert content(data) == "tok0 tok1 tok2 "
        assert data[-1] == "[DONE]"
        assert data.count("[DONE]") == 1


def test_an_event_that_is_no_json_never_reaches_the_caller(gateway: Gateway):
    with open_stream(gateway.port, KEY, "bad-event") as stream:
        data = stream.data()
    assert all(json.loads(item) for item in data if item != "[DONE]")


# ---------------------------------------------------------------- streams that break


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("after", [1, 3])
def test_a_cut_stream_ends_in_an_error_event(gateway: Gateway, framing, how, after):
    model = f"cut,tokens=5,after={after},how={how},framing={framing}"
    broken_off(gateway, model, "upstream_stream_cut", "".join(f"tok{index} " for index in range(after)))


@pytest.mark.parametrize(
    ("behaviour", "code", "text"),
    [
        ("stall,after=2", "upstream_timeout", "tok0 tok1 "),
        ("no-end", "upstream_stream_cut", "tok0 tok1 tok2 "),
        ("no-end,framing=close", "upstream_stream_cut", "tok0 tok1 tok2 "),
        ("huge-event,size=17825792", "upstream_malformed", "tok0 "),
    ],
)
def test_a_stream_that_goes_wrong_ends_in_an_error_event(gateway: Gateway, behaviour, code, text):
    broken_off(gateway, behaviour, code, text)


def broken_off(gateway: Gateway, model: str, code: str, text: str) -> None:
    """Assert that the caller gets the text so far, an error event, no ``[DONE]``, and a complete body."""
    with open_stream(gateway.port, KEY, model) as stream:
        assert stream.status == 200
        data = stream.data()
    assert "[DONE]" not in data
    error = json.loads(data[-1])["error"]
    assert (error["code"], error["type"]) == (code, "server_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert content(data) == text
    logged = gateway.logged(stream.headers["x-request-id"])
    assert (logged["status"], logged["outcome"], logged["code"]) == (200, "failure", code)


def test_a_stream_of_the_responses_api_passes(gateway: Gateway):
    with open_stream(gateway.port, KEY, "ok", "/v1/responses", input="Hello") as stream:
        data = [json.loads(item) for item in stream.data()]
    assert [event["type"] for event in data][-1] == "response.completed"
    with open_stream(gateway.port, KEY, "cut", "/v1/responses", input="Hello") as stream:
        data = [json.loads(item) for item in stream.data()]
    assert data[-1]["type"] == "error"
    assert data[-1]["code"] == "upstream_stream_cut"


# ---------------------------------------------------------------- callers that leave


def test_the_upstream_connection_closes_when_the_caller_leaves(gateway: Gateway, upstream: Upstream):
    with open_stream(gateway.port, KEY, "ok,tokens=500,pause=0.02") as stream:
        events = stream.events()
        next(events)
        next(events)
        request_id = stream.headers["x-request-id"]
    left = time.monotonic()
    assert until(lambda: upstream.last()["ended"], 5) == "peer left"
    assert time.monotonic() - left < 2
    logged = gateway.logged(request_id)
    assert (logged["status"], logged["outcome"]) == (499, "ignored")


def test_a_caller_that_left_leaves_no_trace_in_the_next_answer(gateway: Gateway):
    for _ in range(6):
        with open_stream(gateway.port, KEY, "ok,tokens=50,pause=0.01") as stream:
            next(stream.events())
        with open_stream(gateway.port, KEY, "ok") as stream:
            assert content(stream.data()) == "tok0 tok1 tok2 "


def test_more_concurrent_streams_than_threads(gateway: Gateway):
    def read(_: int) -> str:
        with open_stream(gateway.port, KEY, "ok,pause=0.1") as stream:
            return content(stream.data())

    with ThreadPoolExecutor(14) as pool:
        assert list(pool.map(read, range(14))) == ["tok0 tok1 tok2 "] * 14
