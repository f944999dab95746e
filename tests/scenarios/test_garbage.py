"""Checks that a request frees its memory when it ends, without waiting for the garbage collector.

With prompts of a megabyte, some hundred requests would hold much memory. (A traceback refers to its frames: a
call that failed in an upstream is garbage. After a few dozen such calls the collector runs.)
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from types import FunctionType

import pytest
from kit.calls import AUTH, chunk, make_settings, sse
from kit.upstream_mock import UpstreamMock

from flask_gateway import create_app

URL = "http://llama.test/v1/chat/completions"
WHOLE = {"id": "1", "object": "chat.completion", "model": "llama", "choices": [{"index": 0}]}
STREAM = sse(chunk("Hello"), chunk(finish="stop"), "[DONE]")


@pytest.fixture
def kept() -> Iterator[list[object]]:
    """The objects that the garbage collector finds from here on."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def ours(found: list[object]) -> Counter[str]:
    """Objects of our classes, and functions of our modules."""
    named = [one if type(one) is FunctionType else type(one) for one in found]
    return Counter(
        f"{room}:{one.__qualname__}"
        for one in named
        if (room := str(getattr(one, "__module__", ""))).startswith("flask_gateway")
    )


@pytest.mark.parametrize("case", ["whole", "stream", "refused"])
def test_a_request_leaves_no_reference_cycle(case: str, kept: list[object]) -> None:
    client = create_app(make_settings()).test_client()
    body = {"model": "llama", "messages": [{"role": "user", "content": "Hi"}], "stream": case == "stream"}
    with UpstreamMock(assert_all_requests_are_fired=False) as upstream:
        if case == "stream":
            upstream.post(URL, STREAM, content_type="text/event-stream")
        else:
            upstream.post(URL, json=WHOLE)
        headers = {"Content-Type": "application/json", **(AUTH if case != "refused" else {})}
        path = "/v1/chat/completions"
        for _ in range(3):
            answer = client.post(path, data=json.dumps(body), headers=headers)
            assert answer.status_code == (401 if case == "refused" else 200)
            answer.close()
        del answer
        gc.collect()
        assert not ours(kept)
