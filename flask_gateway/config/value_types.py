"""Defines the types of settings. Each type parses text of the environment and checks values of the file.

A type does not know the setting's name. It raises :class:`InvalidValue`, and the caller adds the name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .errors import InvalidValue, nearest
from .schema import MASK, mask_url
from .upstream_url import base_url, split_url

UPSTREAM_NAME = (
    "a name of up to 64 letters, digits, dots, dashes and underscores, not beginning with . - or _"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Schemes of applications (``app://obsidian.md``) are allowed. "null" is not, since any page can send it.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*://)([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {("http://", ":80"), ("https://", ":443")}
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
_DIGITS = re.compile(r"[0-9]+")
#: A socket's path, an inherited descriptor, or a host with a port.
_ADDRESS = re.compile(
    r"unix:[^\s]+|fd://\d+|(tcp://)?(\[[0-9A-Fa-f:.%\w]*\]|[^\s:/\[\],]*):\d{1,5}|[A-Za-z][\w.-]*"
)
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

#: Quotes that editors and container engines leave around a value.
_OPENING, _CLOSING = ("'", '"', "\u2018", "\u201c"), ("'", '"', "\u2019", "\u201d")
_QUOTED = "without quotes around it; `docker --env-file` keeps them"


def refuse_wrapped(text: str, expected: str) -> None:
    """Raise :class:`InvalidValue` when a value has quotes around it or begins with a byte order mark."""
    if text.startswith("\ufeff"):
        raise InvalidValue(expected, "it begins with a byte order mark: save its file without one")
    if text.startswith(_OPENING) or text.endswith(_CLOSING):
        raise InvalidValue(f"{expected}, {_QUOTED}")


class ValueType(Protocol):
    """The type of a setting."""

    @property
    def expected(self) -> str:
        """The description of valid values, to follow the word "expected"."""
        ...

    def parse(self, text: str) -> Any:
        """Parse the value of an environment variable. Raises :class:`InvalidValue`."""
        ...

    def check(self, value: object) -> Any:
        """Check a value from TOML. Raises :class:`InvalidValue`."""
        ...

    def show(self, value: object) -> object:
        """The part of a refused value that may be printed."""
        ...


class BaseType(msgspec.Struct, frozen=True):
    """The common case: a string in the file, and not a secret."""

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
        # A list or a table may hold anything, secrets included.
        return value if isinstance(value, int | float) else f"a {type(value).__name__}"


class WholeNumber(BaseType, frozen=True):
    low: int = 0
    high: int = 10_000_000

    def parse(self, text: str) -> int:
        digits = text.strip()
        if not _DIGITS.fullmatch(digits):
            raise InvalidValue(self.expected)
        # int() refuses thousands of digits. A number with 100 digits is too large anyway.
        return self.check(int(digits.lstrip("0")[:100] or "0"))

    def check(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < self.low:
            raise InvalidValue(self.expected)
        if value > self.high:
            raise InvalidValue(f"{self.expected}, at most {self.high}")
        return value


class Seconds(BaseType, frozen=True):
    """A duration in seconds. Fractions are allowed, down to a millisecond."""

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
        if not self.low <= value <= self.high:  # also refuses NaN
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
    """Origins of web pages: separated by commas, or a list in the file. The list may be empty."""

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
        """Normalize an origin as browsers do: lower case, without the scheme's default port."""
        if text == "*":
            return text
        match = _ORIGIN.fullmatch(text.lower())
        if not match:
            hint = "an origin is a scheme and a host, maybe a port, and no path" if "://" in text else ""
            raise InvalidValue(self.expected, hint)
        scheme, host, port = match.groups("")
        return scheme + host + ("" if (scheme, port) in _DEFAULT_PORTS else port)


class Names(OneOf, frozen=True):
    """Some of the choices: separated by commas, or a list in the file. It may be empty."""

    def parse(self, text: str) -> tuple[str, ...]:  # type: ignore[override]
        return self.check([entry for entry in map(str.strip, text.split(",")) if entry])

    def check(self, value: object) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            raise InvalidValue(self.expected)
        return tuple(dict.fromkeys(super(Names, self).parse(name) for name in map(str, names)))


class NamePatterns(BaseType, frozen=True):
    """Names in which ``*`` stands for any text: separated by commas, or a list in the file; or ``none``."""

    def parse(self, text: str) -> tuple[str, ...]:
        return self.check([] if text == "none" else list(map(str.strip, text.split(","))))

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, list):
            raise InvalidValue(self.expected)
        line = TextLine(self.expected)
        return tuple(dict.fromkeys(line.check(name) for name in value))


class Flag(BaseType, frozen=True):
    """``true`` or ``false``; in the file only."""

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidValue(self.expected)
        return value


class Continuing(OneOf, frozen=True):
    """A way to resume a partial answer, or ``true`` or ``false``; in the file only."""

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
    """Text that is not empty and can be printed on one line."""

    def parse(self, text: str) -> str:
        if not text.strip() or not text.isprintable():
            raise InvalidValue(self.expected)
        return text


class Addresses(BaseType, frozen=True):
    """Addresses to listen on in gunicorn's syntax, separated by commas."""

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


class Folder(BaseType, frozen=True):
    """The full path of a folder that exists."""

    def parse(self, text: str) -> str:
        if not Path(text).is_absolute() or not Path(text).is_dir():
            raise InvalidValue(self.expected)
        return text


class TextLines(BaseType, frozen=True):
    """A list of :class:`TextLine`, not empty; in the file only."""

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


class UrlPath(BaseType, frozen=True):
    def parse(self, text: str) -> str:
        if not _PATH.fullmatch(text):
            raise InvalidValue(self.expected)
        return text.rstrip("/")


class UpstreamList(BaseType, frozen=True):
    """``name=url;name=url``, parsed to pairs in the same order."""

    def parse(self, text: str) -> tuple[tuple[str, str], ...]:
        entries = [entry.strip() for entry in text.split(";")]
        if entries[-1] == "":
            entries.pop()
        if not entries:
            raise InvalidValue(self.expected)
        pairs: dict[str, str] = {}
        for place, entry in enumerate(entries, 1):
            # A ";" or "=" in a password would split it, so a text with an "@" is masked as a whole.
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
    """The URL of the store. It may carry a password, so a refused one is never shown."""

    def parse(self, text: str) -> str:
        if text in {"memory://", "shared://"}:
            return text
        scheme, separator, _ = text.partition("://")
        if scheme.removesuffix("+sentinel") not in {"redis", "rediss"} or not separator:
            schemes = ("memory://", "shared://", "redis://", "rediss://")
            raise InvalidValue(self.expected, nearest(f"{scheme}://", schemes) if separator else None)
        if not text.isprintable() or " " in text or text.count("@") > 1:
            raise InvalidValue(self.expected, "percent-encode special characters in the password")
        # An "@" after the first "/", "?" or "#" would make the password a part of the path.
        authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
        if "@" in text and "@" not in authority:
            raise InvalidValue(self.expected, "percent-encode special characters in the password")
        if scheme.endswith("+sentinel"):
            return self._sentinels(text, authority.rpartition("@")[2])
        split_url(text, ("redis", "rediss"))
        return text

    def _sentinels(self, text: str, hosts: str) -> str:
        name = text.partition("://")[2].partition("/")[2].partition("?")[0].partition("/")[0]
        if not name:
            raise InvalidValue(self.expected, "name the primary: redis+sentinel://a:26379,b:26379/NAME/0")
        for host in hosts.split(","):
            split_url(f"redis://{host}/0", ("redis",))
        return text

    def show(self, value: object) -> object:
        return MASK
