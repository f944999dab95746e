"""The upgrade request to an upstream, and the answers to it that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import UpstreamMalformed
from flask_gateway.realtime.handshake import accept_of
from flask_gateway.upstreams.websocket import Opening, open_session

HEAD = {"Authorization": "Bearer k", "Content-Type": "application/json", "Accept": "text/event-stream"}


def opening(operation: Operation = Operation.REALTIME) -> Opening:
    call: Call = msgspec.structs.replace(
        make_call("a b/c"), operation=operation, headers={"openai-beta": "realtime=v1"}, deadline=3600.0
    )
    return open_session(call, "live", "https://live.test/v1/x", HEAD, Timeouts())


def answer(asked: Opening, **headers: str) -> Any:
    said = {"sec-websocket-accept": accept_of(asked.head["Sec-WebSocket-Key"]), **headers}
    return SimpleNamespace(response=SimpleNamespace(headers=said))


def test_the_request_asks_for_no_extension_and_carries_the_credential():
    asked = opening()
    assert asked.url == "https://live.test/v1/x?model=a+b%2Fc"
    assert {"Authorization", "openai-beta", "Upgrade", "Sec-WebSocket-Key"} <= asked.head.keys()
    assert not {"Content-Type", "Accept", "Sec-WebSocket-Extensions"} & asked.head.keys()
    assert opening(Operation.RESPONSE_SESSION).url == "https://live.test/v1/x"


def test_each_request_has_a_key_of_its_own():
    assert opening().head["Sec-WebSocket-Key"] != opening().head["Sec-WebSocket-Key"]


def test_the_accept_of_the_standards_example():
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3


@pytest.mark.parametrize("wrong", [{"sec-websocket-accept": "x"}, {"sec-websocket-extensions": "deflate"}])
def test_an_answer_that_agrees_to_something_else_is_refused(wrong: dict[str, str]):
    asked = opening()
    with pytest.raises(UpstreamMalformed, match="did not agree"):
        asked.opened(answer(asked, **wrong))


def test_an_open_session_is_a_reply_with_status_101():
    asked = opening()
    reply = asked.opened(answer(asked))
    assert (reply.status, reply.upstream, reply.model) == (101, "live", "a b/c")
