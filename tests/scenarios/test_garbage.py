"""What a request leaves behind goes when it is over, and not when somebody looks for garbage: with a prompt
of a megabyte each, some hundred of them would be much to hold. (An exception knows where it passed, so what
failed in an upstream is garbage: a few dozen such calls, and it is looked for.)"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from types import FunctionType

import pytest
import responses
from kit.calls import AUTH, chunk, make_settings, sse

from flask_gateway import create_app

URL = "http://llama.test/v1/chat/completions"
WHOLE = {"id": "1", "object": "chat.completion", "model": "llama", "choices": [{"index": 0}]}
STREAM = sse(chunk("Hello"), chunk(finish="stop"), "[DONE]")


@pytest.fixture
def kept() -> Iterator[list[object]]:
    """What is found to be garbage from here on."""
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
    """Objects of our classes, and functions of our rooms."""
    named = [one if type(one) is FunctionType else type(one) for one in found]
    return Counter(
        f"{room}:{one.__qualname__}"
        for one in named
        if (room := str(getattr(one, "__module__", ""))).startswith("flask_gateway")
    )


@pytest.mark.parametrize("case", ["whole", "stream", "refused"])
def test_a_request_leaves_no_garbage_of_ours(case: str, kept: list[object]) -> None:
    client = create_app(make_settings()).test_client()
    body = {"model": "llama", "messages": [{"role": "user", "content": "Hi"}], "stream": case == "stream"}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as upstream:
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
