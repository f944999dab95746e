"""Removes the gateway's own key from upstreams' answers. Some upstreams echo the request's headers.

The key is searched in each whole event and each whole body, verbatim and as JSON may escape it (``\\/``,
``\\u002f``). It is also searched in the text of a stream, across its events. Other encodings (base64,
reversed, encrypted) are not found: a hostile upstream can always leak the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model.large_json import SLICE
from .usage import Tally

#: Replaces the key.
REDACTED = b"[redacted]"
#: A shorter key, characters, is no secret, and may be a word of an answer.
SHORTEST = 8
#: Keys that stand for "no key", for clients that must send one.
_PLACEHOLDERS = frozenset({"lm-studio", "not-needed", "no-key-required", "sk-no-key-required", "unused-key"})
#: Characters that no JSON encoder escapes.
_PLAIN = re.compile(r"[A-Za-z0-9_.~+=:-]+")
#: At most this many characters at either end of a key can pass before the key is noticed.
END = 6
#: This many characters of a key are searched before the whole key is: that takes half the time.
_MARK = 8


class Redaction:
    """A key that must not appear in answers.

    :ivar mark: a part of the key that no encoder escapes. It is searched first.
    """

    __slots__ = ("_pattern", "mark", "text")

    def __init__(self, key: str) -> None:
        self.text = key
        # Keys differ at their ends; many begin alike.
        self.mark = max(_PLAIN.findall(key), key=len, default=key)[-_MARK:].encode()
        self._pattern = re.compile("".join(map(_written, key)).encode())

    @classmethod
    def of(cls, key: str | None) -> Redaction | None:
        """``None`` for a key that is no secret."""
        return cls(key) if key and len(key) >= SHORTEST and key.lower() not in _PLACEHOLDERS else None

    def redact(self, data: bytes) -> bytes:
        """Replace the key in the data."""
        if data.find(self.mark) < 0:
            return data
        return self._pattern.sub(REDACTED, data) if len(data) <= SLICE else b"".join(self._parts(data))

    def _parts(self, data: bytes) -> Iterator[bytes]:
        """Yield long data without the key. Each search is short, because it holds the GIL."""
        longest, at = 6 * len(self.text.encode()), 0
        while at < len(data):
            end = at + SLICE
            last = at
            for match in self._pattern.finditer(data, at, end + longest):
                if match.start() >= end:
                    break
                yield data[last : match.start()] + REDACTED
                last = match.end()
            at = max(end, last)
            yield data[last:at]


def _written(character: str) -> str:
    """Return a regular expression for all ways in which JSON may write a character."""
    escaped = re.escape(character)
    if _PLAIN.fullmatch(character):
        return escaped
    code = "".join(f"[{digit.lower()}{digit.upper()}]" for digit in f"{ord(character):04x}")
    return rf"(?:\\?{escaped}|\\u{code})"


class WatchfulTally(Tally):
    """Counts text as it passes, and notices a key in the text, however it is cut into events.

    :ivar suspicious: the text so far ends in a beginning of the key, or contains the key.
    :ivar spelled: the text contains the key.
    """

    __slots__ = ("_head", "_key", "_last", "_rest", "_tail", "spelled", "suspicious")

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._key = redaction.text
        self._head, self._tail = self._key[:END], self._key[-END:]
        self._rest = len(self._key) - 1
        self._last = ""
        self.suspicious = self.spelled = False

    def add(self, text: str) -> None:
        """Count the text. This runs for each event, so the usual case of :meth:`Tally.add` is inlined."""
        if text.isascii():
            self._narrow += len(text)
        else:
            super().add(text)
        # Each piece of a split key is a part of the key, or contains one of its ends.
        if text in self._key or self._head in text or self._tail in text or self.suspicious:
            self._check(self._last + text)
        else:
            self._last = text

    def _check(self, text_so_far: str) -> None:
        self.spelled = self.spelled or self._key in text_so_far
        self.suspicious = self.spelled or self._ends_in_a_beginning(text_so_far)
        self._last = text_so_far[-self._rest :]

    def _ends_in_a_beginning(self, text_so_far: str) -> bool:
        at = text_so_far.find(self._head)
        while at >= 0:
            if self._key.startswith(text_so_far[at:]):
                return True
            at = text_so_far.find(self._head, at + 1)
        return False
