"""Tests the parser of the Responses API's events."""

from __future__ import annotations

import msgspec
import pytest

from flask_gateway.cli.selftest.client import Api, ClientResponse, StreamEnd
from flask_gateway.cli.selftest.response_parser import hear

# ---------------------------------------------------------------- the judge's ears


def event(kind: str, number: int, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": kind, "sequence_number": number, **fields})
    return f"event: {kind}\ndata: ".encode() + data + b"\n\n"


PART = {"type": "output_text", "text": "Hi"}
RESPONSE = {
    "id": "resp_1",
    "model": "m",
    "status": "completed",
    "output": [{"content": [PART]}],
    "usage": None,
}
CREATED = event("response.created", 0, response={"id": "resp_1", "model": "m"})
DELTA = event("response.output_text.delta", 1, delta="Hi")
COMPLETED = event("response.completed", 2, response=RESPONSE)
ERROR = {"code": "c", "message": "m", "type": "t", "param": None}


def flaws(*events: bytes) -> list[str]:
    head = {"content-type": "text/event-stream"}
    answer = ClientResponse(True, 200, head, b"".join(events), StreamEnd.WHOLE, 1.0, Api.RESPONSES)
    return hear(answer).flaws


def test_a_good_stream_has_no_flaws() -> None:
    assert flaws(CREATED, DELTA, COMPLETED) == []
    assert flaws(CREATED, DELTA, event("error", 2, error=ERROR)) == []


@pytest.mark.parametrize(
    ("events", "flaw"),
    [
        ((CREATED, DELTA), "ends without response.completed"),
        ((CREATED, DELTA, DELTA, COMPLETED), "a gap"),
        ((CREATED, COMPLETED), "differs from its deltas"),
        ((CREATED, DELTA, COMPLETED, event("response.output_text.delta", 3, delta="Hi")), "after the end"),
        ((CREATED, DELTA, b"data: {}\n\n", COMPLETED), "with its name"),
        ((CREATED, DELTA, COMPLETED[:-4]), "an unfinished event"),
        ((event("response.created", 0, response={"id": "resp_2"}), DELTA, COMPLETED), "2 ids"),
        ((CREATED, DELTA, event("error", 2, error={"message": "m"})), "OpenAI's envelope"),
        (
            (CREATED, event("error", 1, error=ERROR), event("response.output_text.delta", 2, delta="H")),
            "error",
        ),
    ],
)
def test_each_flaw_is_heard(events: tuple[bytes, ...], flaw: str) -> None:
    assert any(flaw in one for one in flaws(*events))
