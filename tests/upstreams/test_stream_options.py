"""``stream_options`` that an upstream refuses: learned once, and no caller hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH, chat, chunk, make_call, sse
from kit.upstream_mock import UpstreamMock

from flask_gateway.config.schema import Timeouts, UpstreamSettings
from flask_gateway.model.call import Call
from flask_gateway.model.errors import UpstreamError, UpstreamRefusal
from flask_gateway.reactor import Reactor
from flask_gateway.state.memory import MemoryStore
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.stream_options import StreamOptions
from flask_gateway.upstreams.transport.client import UpstreamClient

URL = "http://llama.test/v1/chat/completions"
SAID = sse(chunk("fine"), chunk(finish="stop"))
EVENTS = {"Content-Type": "text/event-stream"}
Answer = tuple[int, dict[str, str], bytes]


def refusal(status: int = 400, **error: Any) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(error).encode()


NAMED = refusal(error={"message": "Unrecognized request argument supplied: stream_options", "type": "x"})
BY_EVENT: Answer = (
    200,
    EVENTS,
    b'data: {"error":{"message":"stream_options is not supported","code":400}}\n\n',
)
UNEXPECTED: Answer = (
    500,
    {"Content-Type": "text/plain"},
    b"TypeError: create() got an unexpected keyword argument 'stream_options'",
)
UNNAMED = refusal(error={"message": "Extra inputs are not permitted"})


class Server:
    """Answers with ``refuses`` whatever has ``stream_options`` in it."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.refuses: Answer | None = NAMED
        self.then: Answer = (200, EVENTS, SAID)
        self.asked: list[bool] = []
        mock.add_callback(responses.POST, URL, callback=self._answer)

    def _answer(self, request: requests.PreparedRequest) -> Answer:
        has = "stream_options" in json.loads(request.body or b"")
        self.asked.append(has)
        return self.refuses if has and self.refuses else self.then


@pytest.fixture
def server() -> Iterator[Server]:
    with UpstreamMock(assert_all_requests_are_fired=False) as mock:
        yield Server(mock)


@pytest.fixture
def make(store: MemoryStore) -> Iterator[Callable[[], HttpUpstream]]:
    reactor = Reactor()
    http = UpstreamClient(reactor)

    def upstream() -> HttpUpstream:
        options = StreamOptions("llama", "http://llama.test/v1", store)
        return HttpUpstream("llama", "http://llama.test/v1", None, http, Timeouts(), options)

    yield upstream
    http.close()
    assert len(reactor) == 0
    reactor.close()


def ask(upstream: HttpUpstream, call: Call | None = None) -> bytes:
    return b"".join(upstream.send(call or make_call(stream=True)).prime())


@pytest.mark.parametrize(
    "refuses",
    [
        NAMED,
        UNNAMED,
        refusal(422, error={"message": "Unknown field: include_usage"}),
        refusal(422, error={"message": "Validation failed"}),
        BY_EVENT,
        UNEXPECTED,
    ],
)
def test_refused_stream_options_are_dropped_and_never_sent_again(
    server: Server, make: Callable[[], HttpUpstream], refuses: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuses = refuses
    upstream = make()
    assert [ask(upstream) for _ in range(3)] == [SAID] * 3
    assert server.asked == [True, False, False, False]
    assert ask(make()) == SAID  # another worker
    assert server.asked[4:] == [False]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "stream_usage = false" in caplog.text


def test_a_new_url_gets_stream_options_again(server: Server, store: MemoryStore) -> None:
    StreamOptions("llama", "http://llama.test/v1", store).refuse()
    assert StreamOptions("llama", "http://llama.test/v1", store).are_refused
    assert not StreamOptions("llama", "http://other.test/v1", store).are_refused
    assert not StreamOptions("other", "http://llama.test/v1", store).are_refused


def test_a_refusal_of_another_field_goes_to_the_caller(
    server: Server, make: Callable[[], HttpUpstream]
) -> None:
    server.refuses = None
    upstream = make()
    server.then = refusal(error={"message": "temperature must be at most 2"})
    with pytest.raises(UpstreamRefusal):
        ask(upstream)
    assert server.asked == [True, False]  # nothing is known yet: the one is as likely as the other
    server.then = 200, EVENTS, SAID
    assert ask(upstream) == SAID
    server.then = refusal(error={"message": "temperature must be at most 2"})
    with pytest.raises(UpstreamRefusal):
        ask(upstream)
    assert server.asked == [True, False, True, True]
    server.refuses = NAMED  # another model there may know less
    server.then = 200, EVENTS, SAID
    assert ask(upstream) == SAID


def test_the_callers_own_stream_options_are_passed_on(
    server: Server, make: Callable[[], HttpUpstream]
) -> None:
    with pytest.raises(UpstreamRefusal):
        ask(make(), make_call(stream=True, stream_options={"include_usage": True}))
    assert server.asked == [True]


@pytest.mark.parametrize("answer", [(500, {}, b"x"), (429, {}, b"x"), (401, {}, b"x")])
def test_other_failures_do_not_repeat_the_call(
    server: Server, make: Callable[[], HttpUpstream], answer: Answer
) -> None:
    server.refuses = answer
    with pytest.raises(UpstreamError):
        ask(make())
    assert server.asked == [True]


def test_learning_counts_no_attempt_and_no_failure(
    server: Server, make_client: Callable[..., FlaskClient]
) -> None:
    upstream = UpstreamSettings(name="llama", url="http://llama.test/v1")
    client = make_client(upstreams=(upstream,), models=(), default_upstream=None)
    answer = client.post("/v1/chat/completions", json=chat(stream=True), headers=AUTH)
    assert answer.data == SAID
    assert answer.headers["x-gateway-retries"] == "0"
    page = client.get("/v1/circuit-breakers", headers=AUTH).json
    assert page is not None
    assert page["stream_options_refused"] == ["llama"]
    assert page["data"][0]["failures"] == 0


@pytest.mark.parametrize("then", [NAMED, BY_EVENT, UNEXPECTED])
def test_an_error_that_quotes_the_callers_text_teaches_nothing(
    server: Server, make: Callable[[], HttpUpstream], then: Answer
) -> None:
    """It comes without the field, too."""
    server.refuses = None
    upstream, server.then = make(), then
    with pytest.raises(UpstreamError):
        ask(upstream)
    server.then = 200, EVENTS, SAID
    assert ask(upstream) == SAID
    assert server.asked == [True, False, True]
