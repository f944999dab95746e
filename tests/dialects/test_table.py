"""Every dialect: it words any error, ends and pings its streams, and has a path of its own.

A new dialect is one more entry of ``dialects/table.py``, so it is tested here without another line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, make_call

from flask_gateway.dialects import anthropic, openai
from flask_gateway.dialects.dialect import Dialect, Envelope
from flask_gateway.dialects.sse import EventSplitter, data_of
from flask_gateway.dialects.table import DIALECTS, dialect_of, envelope_of
from flask_gateway.model.call import DIRECT, GEMINI, HEARING, SESSIONS, WITH_MODEL, Operation
from flask_gateway.model.errors import (
    CallerLeft,
    GatewayError,
    InternalError,
    InvalidField,
    RateLimited,
    ServerShutdown,
    UpstreamCut,
    UpstreamRefusal,
)

ERRORS = [
    InternalError("The gateway has failed."),
    InvalidField("'n' must be 1.", param="n"),
    RateLimited("So many.", retry_after=3.0),
    ServerShutdown("Bye."),
    CallerLeft("left"),
    UpstreamCut("It broke.", upstream="llama"),
    UpstreamRefusal("No.", status=422, error_object={"message": "No.", "type": "odd", "extra": [1]}),
    UpstreamRefusal("\u2028 \x00 \ud800", status=400, error_object={}),
]
ENVELOPES = [openai.envelope, anthropic.envelope]


@pytest.fixture(params=list(DIALECTS.values()), ids=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    made: Dialect = request.param
    return made


def events(data: bytes) -> list[bytes]:
    splitter = EventSplitter(1 << 20)
    complete = splitter.feed(data)
    assert splitter.rest() == b"", "it ends in half an event"
    return complete


def test_every_operation_has_a_dialect() -> None:
    assert set(DIALECTS) == set(Operation) - {*GEMINI, *SESSIONS}
    assert dialect_of(Operation.RESPONSE) is DIALECTS[Operation.RESPONSE]


def test_every_dialect_has_a_path_of_its_own() -> None:
    paths = [DIALECTS[operation].path for operation in DIALECTS if operation not in DIRECT]
    assert len(set(paths)) == len(paths)
    assert all(re.fullmatch("[a-z_]+(/[a-z_]+)*", path) for path in paths)


@pytest.mark.parametrize("error", ERRORS[:-1], ids=lambda error: str(error.code))
def test_the_error_event_of_a_stream_is_complete_events_of_json(
    dialect: Dialect, error: GatewayError
) -> None:
    reader = dialect.reader(make_call(stream=True))
    for known in (None, reader):
        said = [json.loads(data_of(event) or b"") for event in events(dialect.error_event(error, known))]
        assert said
        assert error.message in json.dumps(said, ensure_ascii=False)


def test_the_error_event_is_no_end_of_a_good_stream(dialect: Dialect) -> None:
    said = dialect.error_event(UpstreamCut("It broke."), None)
    assert not dialect.ending or dialect.ending not in said


def test_a_ping_is_one_event_that_says_nothing_and_the_ending_is_one_event(dialect: Dialect) -> None:
    (ping,) = events(dialect.ping)
    data = data_of(ping)
    assert data is None or (ping.startswith(b"event: ping\n") and json.loads(data) == {"type": "ping"})
    assert len(events(dialect.ending)) == bool(dialect.ending)


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("error", ERRORS[:-1], ids=lambda error: str(error.code))
def test_an_envelope_says_the_message_and_keeps_the_error_as_it_was(
    envelope: Envelope, error: GatewayError
) -> None:
    before = dict(vars(error))
    worded = envelope(error, "req-1")
    assert worded["error"]["message"] == error.message
    assert worded["error"]["code"] == error.code
    assert isinstance(worded["error"]["type"], str)
    json.dumps(worded)
    assert vars(error) == before


def test_envelopes_are_found_by_path() -> None:
    assert envelope_of("/v1/messages") is anthropic.envelope
    for path in ("/v1/chat/completions", "/", "/v1/message", "*", ""):
        assert envelope_of(path) is openai.envelope


@pytest.mark.parametrize("operation", [one for one in WITH_MODEL if one not in (*GEMINI, *SESSIONS)])
def test_the_web_layer_serves_the_path_of_every_dialect(client: FlaskClient, operation: Operation) -> None:
    answer = client.post(f"/v1/{dialect_of(operation).path}", headers=AUTH, json={})
    assert answer.status_code == (415 if operation in HEARING else 400)
    assert answer.json is not None
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_errors_streaming_and_web_word_nothing_themselves() -> None:
    """The words of an API stand in ``dialects``, the mock, the sidecar and ``testing`` alone."""
    root = Path(__file__).parents[2] / "flask_gateway"
    words = re.compile(rb'"(?:: ping|data: \[DONE\])|\{"error": \{|def envelope')
    where = [
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if words.search(path.read_bytes())
    ]
    places = ("dialects/", "upstreams/mock/", "cli/", "sidecar/", "testing/")
    assert [place for place in where if not place.startswith(places)] == []
