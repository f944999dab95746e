"""Repairs events that are no JSON, and notices when a part of the answer is lost with one.

An event is repaired, or dropped and counted. An event that lost its end may come again whole: the stream
goes on if the next event repeats it, and fails otherwise.
"""

from __future__ import annotations

import re
from typing import Any

from .sse import with_data
from .values import is_idle_text, mend

#: Matches half an event in which the text of the answer has begun. Only then can the next event be
#: recognised as its repetition.
_TEXT_BEGUN = re.compile(rb'"(?:content|text|arguments|delta|reasoning_content|reasoning|refusal)": ?"[^"]')


class UnreadableEvents:
    """The events of one stream that could not be read.

    :ivar dropped: how many were dropped.
    :ivar lost_text: one of them was text, and may have been an error. A keep-alive as ``data: ping`` is none.
    :ivar half: the data of an event that lost its end, until the next event has come; else empty.
    """

    __slots__ = ("dropped", "half", "lost_text")

    def __init__(self) -> None:
        self.dropped = 0
        self.lost_text = False
        self.half = b""

    def drop(self, data: bytes, *, may_come_again: bool) -> None:
        """Count an event that cannot be repaired.

        :param may_come_again: the answer goes on, so the next event may repeat this one.
        """
        if may_come_again:
            self.half = data.strip()
        self.dropped += 1
        self.lost_text = self.lost_text or not is_idle_text(data)

    def is_repeated_by(self, data: bytes) -> bool:
        """Whether the event with this data repeats the half event. The half event is forgotten."""
        half, self.half = self.half, b""
        return data.startswith(half) and _TEXT_BEGUN.search(half) is not None


def repaired(event: bytes, data: bytes) -> tuple[bytes, bytes, dict[str, Any]] | None:
    """Return the event with valid JSON, that JSON and its value; ``None`` when it cannot be repaired.

    :param event: with its blank line.
    """
    mended = mend(data)
    if mended is None:
        return None
    data, document = mended
    return with_data(event[:-2], data) + b"\n\n", data, document


def is_half_object(data: bytes) -> bool:
    """Whether unreadable data began as a JSON object, so that it was an event of the answer."""
    return data.lstrip()[:1] == b"{"
