"""Keeps the gateway's own key out of what an upstream answers. Some upstreams repeat what they were sent.

It is looked for in each whole event and each whole body, as it is and as JSON may write it (``\\/``,
``\\u002f``), and in the text of a stream as its events spell it out. Not found are other codings (base64,
reversed, encrypted): an upstream that wants to give its key away can.
"""

from __future__ import annotations

import re

from .usage import Tally

#: What stands in its place.
REDACTED = b"[redacted]"
#: A shorter key is none that anybody could keep secret, and may be a word of an answer.
SHORTEST = 8
#: What is set where a server wants no key, but a client sends one.
_PLACEHOLDERS = frozenset({"lm-studio", "not-needed", "no-key-required", "sk-no-key-required", "unused-key"})
#: Characters that no writer of JSON escapes.
_PLAIN = re.compile(r"[A-Za-z0-9_.~+=:-]+")
#: So many characters at an end of a key may pass before its spelling is noticed.
END = 6
#: So many characters of a key are looked for before all of it is: that takes half the time.
_MARK = 8


class Redaction:
    """A key that is not to be seen in answers.

    :ivar mark: a part of it that is the same in all ways to write it; looked for before anything else.
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
        """The data with something else in the place of the key."""
        return data if data.find(self.mark) < 0 else self._pattern.sub(REDACTED, data)


def _written(character: str) -> str:
    """All ways in which JSON may write a character, as an expression."""
    escaped = re.escape(character)
    if _PLAIN.fullmatch(character):
        return escaped
    code = "".join(f"[{digit.lower()}{digit.upper()}]" for digit in f"{ord(character):04x}")
    return rf"(?:\\?{escaped}|\\u{code})"


class WatchfulTally(Tally):
    """Counts text as it passes, and notices when the text spells out a key, however it is cut into events.

    :ivar suspicious: the text so far ends in what may become the key, or has become it.
    :ivar spelled: it has the key in it.
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
        """Called for each event, so the usual case of :meth:`Tally.add` is written out here."""
        if text.isascii():
            self._narrow += len(text)
        else:
            super().add(text)
        # Of a key in pieces each is within it, or has one of its ends in it.
        if text in self._key or self._head in text or self._tail in text or self.suspicious:
            self._look(self._last + text)
        else:
            self._last = text

    def _look(self, seen: str) -> None:
        self.spelled = self.spelled or self._key in seen
        self.suspicious = self.spelled or self._ends_in_a_beginning(seen)
        self._last = seen[-self._rest :]

    def _ends_in_a_beginning(self, seen: str) -> bool:
        at = seen.find(self._head)
        while at >= 0:
            if self._key.startswith(seen[at:]):
                return True
            at = seen.find(self._head, at + 1)
        return False
