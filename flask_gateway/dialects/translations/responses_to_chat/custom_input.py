"""Unpacks a custom tool's text from its JSON arguments while they arrive."""

from __future__ import annotations

import json
import re

from .tools import INPUT, input_of

_HEAD = f'{{"{INPUT}":"'
#: The longest beginning of the object, characters. Blanks may stand in it.
_MAX_HEAD = 100
#: Whole characters and escapes of a JSON string. Models also write escapes that JSON does not know, such as
#: ``\\d``: a backslash that stands for itself.
_WHOLE = re.compile(
    r"""(?: [^"\\]+ | \\["\\/bfnrt] | \\u[0-9a-fA-F]{4}
          | \\[^"\\/bfnrtu] | \\u(?=[0-9a-fA-F]{0,3}[^0-9a-fA-F]) )*""",
    re.VERBOSE,
)
#: A valid escape, or a backslash that begins none.
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|(\\)')
#: The first half of a character beyond U+FFFF.
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")


class CustomInput:
    """Unpacks ``{"input": "…"}``. Arguments of another shape are given as a whole, at the end."""

    def __init__(self) -> None:
        self._arguments: list[str] = []
        #: The text that could not be decoded yet: the beginning of the object, or half an escape.
        self._rest = ""
        self._in_text = self._odd = self._over = False
        self._texts: list[str] = []

    def feed(self, arguments: str) -> str:
        """Return the text that these arguments add."""
        self._arguments.append(arguments)
        if self._odd or self._over:
            return ""
        self._rest += arguments
        if not self._in_text and not self._begins():
            return ""
        return self._decode()

    def _begins(self) -> bool:
        """Whether the text has begun."""
        before, quotes, after = _behind_quotes(self._rest, 3)
        head = "".join(before.split())
        if not quotes:
            self._odd = not _HEAD.startswith(head) or len(before) > _MAX_HEAD
            return False
        self._odd = head != _HEAD
        self._in_text, self._rest = not self._odd, after
        return self._in_text

    def _decode(self) -> str:
        match = _WHOLE.match(self._rest)
        piece = match[0] if match else ""
        more = self._rest[len(piece) : len(piece) + 1]
        if more in ("", "\\") and (half := _HALF.search(piece)):
            piece = piece[: half.start()]
        self._over = self._rest[len(piece) : len(piece) + 1] == '"'
        self._rest = self._rest[len(piece) :]
        text = _decoded(piece)
        self._texts.append(text)
        return text

    def end(self) -> str:
        """Return the text that is left."""
        if self._in_text:
            return ""
        rest = input_of("".join(self._arguments))
        self._texts.append(rest)
        return rest

    @property
    def text(self) -> str:
        return "".join(self._texts)


def _behind_quotes(text: str, count: int) -> tuple[str, bool, str]:
    """Split behind the ``count``-th quote. Also return whether there are so many."""
    at = -1
    for _ in range(count):
        at = text.find('"', at + 1)
        if at < 0:
            return text, False, ""
    return text[: at + 1], True, text[at + 1 :]


def _decoded(piece: str) -> str:
    """Decode a part of a JSON string. A half character becomes U+FFFD, since UTF-8 cannot carry it."""
    piece = _ESCAPE.sub(lambda match: "\\\\" if match[1] else match[0], piece)
    text: str = json.loads(f'"{piece}"', strict=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unpacked(arguments: str) -> str:
    """The text in whole arguments."""
    reader = CustomInput()
    return reader.feed(arguments) + reader.end()
