"""Words the errors of a stream that an upstream broke: cut short, malformed, or ended by an error event."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.errors import SEND_AGAIN, UpstreamCut, UpstreamError, UpstreamMalformed
from .bulky import LARGE
from .error_mapping import page_error, reported_error
from .values import error_in


def stream_cut(upstream: str, what: str) -> UpstreamCut:
    """:param what: how the stream ended too early, as a verb with its object."""
    return UpstreamCut(f"Upstream '{upstream}' {what}. {SEND_AGAIN}", upstream=upstream)


def stream_malformed(upstream: str, what: str) -> UpstreamMalformed:
    """:param what: what cannot be read, as a sentence without its dot."""
    return UpstreamMalformed(
        f"Upstream '{upstream}' broke the stream: {what}. {SEND_AGAIN}", upstream=upstream
    )


def part_lost(upstream: str) -> UpstreamMalformed:
    """Return the error of an event that cannot be read and carried a part of the answer."""
    return stream_malformed(upstream, "an event of it is no JSON, and its part of the answer is lost")


def named_error(upstream: str, data: bytes) -> UpstreamError:
    """Return the error of an event whose name is ``error``, whatever the shape of its data."""
    data = data[:LARGE]
    try:
        document: Any = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        document = {"message": data.strip().decode("utf-8", "replace")}
    error = error_in(document)
    return reported_error(document if error is None else error, upstream)


def text_error(upstream: str, text: bytes) -> UpstreamError | None:
    """Return the error of text that came where events were asked for; ``None`` when it reports none."""
    if text.startswith(b"<"):
        page = page_error(200, text, upstream)
        return page or stream_malformed(upstream, "a page came, and no events")
    if text.startswith(b"error:"):  # older versions of llama.cpp
        return named_error(upstream, text[len(b"error:") :])
    return None
