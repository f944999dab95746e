r"""Masks what looks like an address, a card or an account in answers, also in streams.

    [plugins.pii]
    use = "masking:Masking"
    options = { kinds = ["EMAIL", "CARD"], patterns = { TICKET = '\bT-\d{6}\b' } }

A stream is cut anywhere, so the end of a text is held back until no match can begin in it: as many characters
as the longest match has, 110 for the kinds below. Write patterns with bounded repetition (``{1,64}``),
that look at no more than one character on either side (``\b``, ``(?!\d)``), and without ``^`` and ``$``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from re import _parser  # type: ignore[attr-defined]  # the only way to the width of a pattern

from flask_gateway.plugin import Call

#: The patterns by name. They find what is usual, and not everything.
KINDS: Mapping[str, str] = {
    "EMAIL": r"(?<![\w.+-])[\w.+-]{1,40}@[\w-]{1,30}(?:\.[\w-]{1,12}){1,3}",
    "CARD": r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)",
    "IBAN": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "IPV4": r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",
}
#: The longest match, characters: the gateway lets an inspection hold back no more.
MOST = 4096


class Masking:
    """An inspector: ``[NAME]`` stands in the place of each match.

    :param kinds: names of :data:`KINDS`. :param patterns: further patterns by name.
    :raises ValueError: a pattern has no longest match, or matches nothing at all.
    """

    api = 1

    def __init__(self, kinds: Iterable[str] = KINDS, patterns: Mapping[str, str] | None = None) -> None:
        chosen = {name: KINDS[name] for name in kinds} | dict(patterns or {})
        self._pattern = re.compile("|".join(f"(?P<{name}>{text})" for name, text in chosen.items()))
        self._longest = max(_longest(name, text) for name, text in chosen.items())

    def open(self, call: Call) -> MaskedAnswer:
        """Return the inspection of one answer."""
        return MaskedAnswer(self._pattern, self._longest)


def _longest(name: str, pattern: str) -> int:
    shortest, longest = _parser.parse(pattern).getwidth()
    if shortest < 1 or longest > MOST:
        raise ValueError(f"{name}: write a pattern that matches 1 to {MOST} characters, with {{1,64}} for +")
    return int(longest)


class MaskedAnswer:
    """The inspection of one answer. Its output does not depend on how the text was cut."""

    def __init__(self, pattern: re.Pattern[str], longest: int) -> None:
        self.hold = longest
        self._pattern = pattern
        #: Of each channel the text that is held, and where it begins: after one character that has been sent.
        self._held: dict[str, tuple[str, int]] = {}
        self.masked = 0

    @property
    def verdict(self) -> str:
        return f"masked({self.masked})"

    def text(self, channel: str, delta: str) -> str:
        """Return the text to send; the last ``hold`` characters stay here."""
        held, begin = self._held.get(channel, ("", 0))
        held += delta
        out, begin = self._mask(held, begin, len(held) - self.hold)
        self._held[channel] = (held[begin - 1 :], 1) if begin else (held, 0)
        return out

    def end(self, channel: str) -> str:
        """Return the rest."""
        held, begin = self._held.pop(channel, ("", 0))
        return self._mask(held, begin, len(held) + 1)[0]

    def _mask(self, text: str, begin: int, decided: int) -> tuple[str, int]:
        """Mask from ``begin`` on. Whether a match begins at ``decided`` or after it, later text says.

        :returns: the text to send, and where the rest begins.
        """
        parts: list[str] = []
        while (found := self._pattern.search(text, begin)) and found.start() < decided:
            parts += (text[begin : found.start()], f"[{found.lastgroup}]")
            begin = found.end()
            self.masked += 1
        if begin < decided:
            parts.append(text[begin:decided])
            begin = decided
        return "".join(parts), begin
