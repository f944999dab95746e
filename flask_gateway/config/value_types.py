"""The kinds of values a setting may have. Each reads text from the environment and values from the file.

A kind knows nothing of names: it raises :class:`InvalidValue`, and whoever asked says which setting it was.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec

from .errors import InvalidValue, nearest
from .schema import MASK, mask_url
from .upstream_url import base_url, split_url

UPSTREAM_NAME = (
    "a name of up to 64 letters, digits, dots, dashes and underscores, not beginning with . - or _"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: The scheme of an application (``app://obsidian.md``) is one as well. "null" is no origin to be trusted.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*://)([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {("http://", ":80"), ("https://", ":443")}
_DIGITS = re.compile(r"[0-9]+")
#: A socket's path, an inherited descriptor, or a host with a port.
_ADDRESS = re.compile(
    r"unix:[^\s]+|fd://\d+|(tcp://)?(\[[0-9A-Fa-f:.%\w]*\]|[^\s:/\[\],]*):\d{1,5}|[A-Za-z][\w.-]*"
)
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


#: What editors and container engines leave in a value: quotes around it, a byte order mark in front.
_OPENING, _CLOSING = ("'", '"', "\u2018", "\u201c"), ("'", '"', "\u2019", "\u201d")
_QUOTED = "without quotes around it; `docker --env-file` keeps them"


def refuse_wrapped(text: str, expected: str) -> None:
    """Raise :class:`InvalidValue` when a value has quotes around it, or a byte order mark in front."""
    if text.startswith("\ufeff"):
        raise InvalidValue(expected, "it begins with a byte order mark: save its file without one")
    if text.startswith(_OPENING) or text.endswith(_CLOSING):
        raise InvalidValue(f"{expected}, {_QUOTED}")


class ValueType(Protocol):
    """What a value must be."""

    @property
    def expected(self) -> str:
        """What the value must be, to follow the word "expected"."""
        ...

    def parse(self, text: str) -> Any:
        """The value of an environment variable. Raises :class:`InvalidValue`."""
        ...

    def check(self, value: object) -> Any:
        """The value TOML gave. Raises :class:`InvalidValue`."""
        ...

    def show(self, value: object) -> object:
        """What of a refused value may be printed."""
        ...


class BaseType(msgspec.Struct, frozen=True):
    """What most kinds share: a file writes them as a string, and they are no secret."""

    expected: str

    def parse(self, text: str) -> Any:
        raise NotImplementedError

    def check(self, value: object) -> Any:
        if not isinstance(value, str):
            raise InvalidValue(self.expected)
        return self.parse(value)

    def show(self, value: object) -> object:
        if isinstance(value, str):
            # A URL with credentials may have been set under the wrong name.
            return mask_url(value) if "@" in value else value
        # A list or a table may hold anything, also what is a secret elsewhere.
        return value if isinstance(value, int | float) else f"a {type(value).__name__}"


class WholeNumber(BaseType, frozen=True):
    low: int = 0
    high: int = 10_000_000

    def parse(self, text: str) -> int:
        digits = text.strip()
        if not _DIGITS.fullmatch(digits):
            raise InvalidValue(self.expected)
        # Python refuses to read thousands of digits; a number that long is too large anyway.
        return self.check(int(digits.lstrip("0")[:100] or "0"))

    def check(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < self.low:
            raise InvalidValue(self.expected)
        if value > self.high:
            raise InvalidValue(f"{self.expected}, at most {self.high}")
        return value


class Seconds(BaseType, frozen=True):
    """A time; fractions are allowed, down to a millisecond."""

    low: float = 0.001
    high: float = 10_000_000

    def parse(self, text: str) -> float:
        number = text.strip()
        if not _NUMBER.fullmatch(number):
            raise InvalidValue(self.expected)
        return self.check(float(number))

    def check(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidValue(self.expected)
        if not self.low <= value <= self.high:  # also when it is not a number
            raise InvalidValue(f"{self.expected}, from {self.low} to {self.high}")
        return float(value)


class OneOf(BaseType, frozen=True):
    """One of a few words.

    :param former: earlier words, still accepted. No message offers them.
    """

    choices: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    def parse(self, text: str) -> str:
        if text not in self.choices and text not in self.former:
            raise InvalidValue(self.expected, nearest(text, self.choices))
        return text


class Switch(BaseType, frozen=True):
    """``on`` or ``off``."""

    def parse(self, text: str) -> bool:
        if text not in ("on", "off"):
            raise InvalidValue(self.expected, nearest(text, ("on", "off")))
        return text == "on"


class CorsOrigins(BaseType, frozen=True):
    """Origins of web pages: separated by commas, or a list in the file. None at all is possible."""

    def parse(self, text: str) -> tuple[str, ...]:
        refuse_wrapped(text, self.expected)
        return self.check([entry for entry in map(str.strip, text.split(",")) if entry])

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, list) or not all(isinstance(origin, str) for origin in value):
            raise InvalidValue(self.expected)
        return tuple(dict.fromkeys(map(self._origin, value)))

    def _origin(self, text: str) -> str:
        """As browsers write it: in lower case, without the port that goes without saying."""
        if text == "*":
            return text
        found = _ORIGIN.fullmatch(text.lower())
        if not found:
            hint = "an origin is a scheme and a host, maybe a port, and no path" if "://" in text else ""
            raise InvalidValue(self.expected, hint)
        scheme, host, port = found.groups("")
        return scheme + host + ("" if (scheme, port) in _DEFAULT_PORTS else port)


class Flag(BaseType, frozen=True):
    """Yes or no; in the file only."""

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidValue(self.expected)
        return value


class Continuing(OneOf, frozen=True):
    """One of the ways to go on with an answer, or plainly yes or no; in the file only."""

    def check(self, value: object) -> str | None:
        if isinstance(value, bool):
            return self.choices[0] if value else None
        return str(super().check(value))


class Name(BaseType, frozen=True):
    def parse(self, text: str) -> str:
        if not _NAME.fullmatch(text):
            raise InvalidValue(self.expected)
        return text


class TextLine(BaseType, frozen=True):
    """Any text that can be printed on one line, and is not empty."""

    def parse(self, text: str) -> str:
        if not text.strip() or not text.isprintable():
            raise InvalidValue(self.expected)
        return text


class Addresses(BaseType, frozen=True):
    """Addresses to listen on, with commas between them, as gunicorn takes them."""

    def parse(self, text: str) -> str:
        for address in text.split(","):
            given = address.strip()
            if given.isdecimal():
                raise InvalidValue(self.expected, f"did you mean 127.0.0.1:{given}?")
            if not _ADDRESS.fullmatch(given):
                raise InvalidValue(self.expected)
            port = given.rpartition(":")[2]
            if port.isdecimal() and not given.startswith("unix:") and int(port) > 65535:
                raise InvalidValue(f"{self.expected}, with a port from 0 to 65535")
        return text


class TextLines(BaseType, frozen=True):
    """A list of such texts, not empty; in the file only."""

    def check(self, value: object) -> frozenset[str]:
        if not isinstance(value, list) or not value:
            raise InvalidValue(self.expected)
        line = TextLine(self.expected)
        return frozenset(line.check(item) for item in value)


class UpstreamUrl(BaseType, frozen=True):
    def parse(self, text: str) -> str:
        return base_url(text)

    def show(self, value: object) -> object:
        return mask_url(value) if isinstance(value, str) else super().show(value)


class UpstreamList(BaseType, frozen=True):
    """``name=url;name=url``, as pairs in the order given."""

    def parse(self, text: str) -> tuple[tuple[str, str], ...]:
        entries = [entry.strip() for entry in text.split(";")]
        if entries[-1] == "":
            entries.pop()
        if not entries:
            raise InvalidValue(self.expected)
        pairs: dict[str, str] = {}
        for place, entry in enumerate(entries, 1):
            # A ";" or "=" inside a password would tear it apart, so with an "@" about nothing is shown.
            shown = MASK if "@" in text else mask_url(entry)
            name, url = self._pair(entry, place, shown)
            if name in pairs:
                raise InvalidValue(
                    "every upstream to have a name of its own", f"entry {place} repeats one", shown
                )
            pairs[name] = url
        return tuple(pairs.items())

    def _pair(self, entry: str, place: int, shown: str) -> tuple[str, str]:
        name, separator, url = (part.strip() for part in entry.partition("="))
        if not separator:
            raise InvalidValue(self.expected, f"entry {place} has no =", shown)
        if not _NAME.fullmatch(name):
            raise InvalidValue(UPSTREAM_NAME, f"see the name in entry {place}", shown)
        if re.search(r",[^,=/]+=[a-z]+://", url):
            raise InvalidValue(
                self.expected, f"separate upstreams with ; and not with , in entry {place}", shown
            )
        try:
            return name, base_url(url)
        except InvalidValue as unfit:
            hint = f"see the URL in entry {place}" + (f"; {unfit.hint}" if unfit.hint else "")
            raise InvalidValue(unfit.expected, hint, shown) from None


class StateUrl(BaseType, frozen=True):
    """Where shared state lives. It may carry a password, so a refused one is never shown."""

    def parse(self, text: str) -> str:
        if text in {"memory://", "shared://"}:
            return text
        scheme, separator, _ = text.partition("://")
        if scheme not in {"redis", "rediss"} or not separator:
            schemes = ("memory://", "shared://", "redis://", "rediss://")
            raise InvalidValue(self.expected, nearest(f"{scheme}://", schemes) if separator else None)
        if not text.isprintable() or " " in text or text.count("@") > 1:
            raise InvalidValue(self.expected, "percent-encode what is special in the password")
        # Anything but one "@" before the first "/", "?" or "#" would make the password part of the path.
        authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
        if "@" in text and "@" not in authority:
            raise InvalidValue(self.expected, "percent-encode what is special in the password")
        split_url(text, ("redis", "rediss"))
        return text

    def show(self, value: object) -> object:
        return MASK
