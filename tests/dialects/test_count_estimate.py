"""Tests the estimate for ``count_tokens``: pictures, documents and tools count; odd bodies break nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flask_gateway.dialects.count_estimate import IMAGE, PDF_CHARACTERS, counted_tokens


def fields(*content: Any, **more: Any) -> dict[str, msgspec.Raw]:
    messages = [{"role": "user", "content": list(content)}]
    body = {"messages": messages, **more}
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}


TEXT = {"type": "text", "text": "Hello there, how are you today?"}
PICTURE = {"type": "image", "source": {"type": "base64", "data": "x" * 100}}


@pytest.mark.parametrize(
    "raw", [b"7", b"null", b"[[[7]]]", b"[" * 100_000, b'[{"type":"document","source":7}]']
)
def test_an_odd_body_breaks_nothing(raw: bytes) -> None:
    assert counted_tokens({"messages": msgspec.Raw(raw)}) >= 0
    assert counted_tokens({}) >= 0


def test_a_picture_and_a_document_count_as_an_upstream_would() -> None:
    alone = counted_tokens(fields(TEXT))
    assert alone > 0
    assert counted_tokens(fields(TEXT, PICTURE)) >= alone + IMAGE
    long = {"type": "document", "source": {"data": "x" * (PDF_CHARACTERS * IMAGE * 2)}}
    assert counted_tokens(fields(long)) >= 2 * IMAGE


def test_inputs_and_results_of_tools_count() -> None:
    use = {"type": "tool_use", "input": {"query": "x" * 4000}}
    result = {"type": "tool_result", "content": [PICTURE]}
    assert counted_tokens(fields(use)) >= 1000
    assert counted_tokens(fields(result)) >= IMAGE
