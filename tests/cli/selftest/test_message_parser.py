"""Tests the strict parser of Anthropic's Messages: each flaw of their form is found and named."""

from __future__ import annotations

import msgspec
import pytest

from flask_gateway.cli.selftest.client import Api, ClientResponse, StreamEnd
from flask_gateway.cli.selftest.response_parser import hear

# ---------------------------------------------------------------- the judge's ears


def event(kind: str, **fields: object) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return f"event: {kind}\ndata: ".encode() + data + b"\n\n"


START = event("message_start", message={"model": "m", "usage": {"input_tokens": 1, "output_tokens": 0}})
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
CLOSE = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
STOP = event("message_stop")
ERROR = event("error", error={"type": "api_error", "message": "m"})


def flaws(*events: bytes) -> list[str]:
    head = {"content-type": "text/event-stream"}
    answer = ClientResponse(True, 200, head, b"".join(events), StreamEnd.WHOLE, 1.0, Api.MESSAGES)
    return hear(answer).flaws


def test_a_good_stream_has_no_flaws() -> None:
    assert flaws(START, event("ping"), OPEN, DELTA, CLOSE, END, STOP) == []
    assert flaws(START, OPEN, DELTA, ERROR) == []


@pytest.mark.parametrize(
    ("events", "flaw"),
    [
        ((START, OPEN, DELTA), "without message_stop"),
        ((START, OPEN, DELTA, END, STOP), "without its stop"),
        ((START, OPEN, DELTA, CLOSE, STOP), "without a stop reason"),
        ((OPEN, DELTA), "does not begin once"),
        ((START, START), "does not begin once"),
        ((START, OPEN, OPEN), "out of order"),
        ((START, DELTA), "not open"),
        ((START, OPEN, DELTA, CLOSE, END, STOP, DELTA), "after the end"),
        ((START, ERROR, OPEN), "after the error"),
        ((START, b"data: {}\n\n"), "with its name"),
        ((START, OPEN[:-4]), "an unfinished event"),
        ((START, event("error", error={"message": "m"})), "Anthropic's envelope"),
    ],
)
def test_each_flaw_is_heard(events: tuple[bytes, ...], flaw: str) -> None:
    assert any(flaw in one for one in flaws(*events))
