"""Secrets on their way in: what a usable key is, where the file says one is kept, and its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .errors import ConfigError, InvalidValue
from .file_access import MOST_SECRET, read_regular
from .schema import MASK
from .value_types import BaseType, ValueType, refuse_wrapped

#: The key that works when none is set. It is in the documentation, so it protects nothing.
DEV_KEY = "dev-key"

#: What can travel as a Bearer token in one header.
_USABLE = re.compile(r"[\x21-\x7e]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: How variables are named; lower case may be a secret, written where the name of one belongs.
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

USABLE_KEY = "a key of visible ASCII characters, without spaces"


#: A caller's key that is shorter than this is weak, characters; one that is shorter than that is guessed.
SHORT_KEY, GUESSABLE_KEY = 16, 8


def digest(key: str) -> bytes:
    """What is kept of a caller's key: 32 bytes of SHA-256."""
    return hashlib.sha256(key.encode()).digest()


DEV_KEY_DIGEST = digest(DEV_KEY)
_EMPTY_DIGEST = digest("")


class Masked(BaseType, frozen=True):
    """A kind whose refused values are never shown, since they may be secrets."""

    def show(self, value: object) -> object:
        return MASK


class Key(Masked, frozen=True):
    def parse(self, text: str) -> str:
        if not _USABLE.fullmatch(text):
            raise InvalidValue(self.expected, None if text else "it is empty")
        return text


class KeyList(Masked, frozen=True):
    """Keys separated by commas; spaces around a comma belong to no key."""

    def parse(self, text: str) -> tuple[str, ...]:
        places: dict[str, int] = {}
        for place, entry in enumerate(text.split(","), 1):
            key = entry.strip()
            refuse_wrapped(key, self.expected)
            if not key:
                raise InvalidValue(self.expected, f"key {place} is empty")
            if not _USABLE.fullmatch(key):
                raise InvalidValue(
                    self.expected, f"key {place} has a space or another character that is none of these"
                )
            if key in places:
                raise InvalidValue(self.expected, f"key {place} repeats key {places[key]}")
            places[key] = place
        return tuple(places)


class Digest(Masked, frozen=True):
    def parse(self, text: str) -> bytes:
        if not _HEX_DIGEST.fullmatch(text):
            raise InvalidValue(self.expected)
        if bytes.fromhex(text) == _EMPTY_DIGEST:
            raise InvalidValue(self.expected, "this is the digest of an empty text")
        return bytes.fromhex(text)


class Variable(Masked, frozen=True):
    """The name of an environment variable. What is no name may be the secret itself: not shown."""

    def parse(self, text: str) -> str:
        if not _VARIABLE.fullmatch(text):
            raise InvalidValue(self.expected, "not the secret itself")
        return text


class SecretPath(Masked, frozen=True):
    def parse(self, text: str) -> str:
        if not text or not text.isprintable():
            raise InvalidValue(self.expected)
        return text


class Forbidden(Masked, frozen=True):
    """A name we know and refuse, to say where the thing belongs instead."""

    hint: str

    def check(self, value: object) -> None:
        raise InvalidValue(self.expected, self.hint)


class SecretRef(msgspec.Struct, frozen=True):
    """Where the file says a secret is kept. Followed only when the environment does not set it.

    :param setting: the dotted path of the field that says so.
    :param place: the name of a variable, or the path of a file.
    :param folder: what the path is relative to; ``None`` when the place is a variable.
    """

    setting: str
    place: str
    folder: Path | None = None

    def follow(self, environ: Mapping[str, str], kind: ValueType) -> str:
        """The secret, checked to be of the kind. Raises :class:`ConfigError`, which never shows it."""
        text = self._from(environ) if self.folder is None else self._from_file(self.folder / self.place)
        # There is such a place, so its name is not the secret itself.
        shown = self.place if self.folder is None else str(self.folder / self.place)
        if not text:
            raise ConfigError(self.setting, shown, "a place that holds a secret", "it is empty")
        try:
            kind.parse(text)
        except InvalidValue as unfit:
            raise ConfigError(self.setting, shown, f"{unfit.expected} there", unfit.hint) from None
        return text

    def _from(self, environ: Mapping[str, str]) -> str:
        if self.place not in environ:
            shown = self.place if _CAPITALS.fullmatch(self.place) else MASK
            raise ConfigError(self.setting, shown, "the name of an environment variable that is set")
        return environ[self.place]

    def _from_file(self, path: Path) -> str:
        try:
            # Windows writes a byte order mark at the start of a file in UTF-8.
            return read_regular(path, MOST_SECRET).decode("utf-8-sig").rstrip("\r\n")
        except OSError as error:
            # A bare word that cannot be read may be a secret, written where the path of one belongs.
            shown = str(path) if re.search("[/.]", self.place) else MASK
            raise ConfigError(self.setting, shown, "a file that can be read", error.strerror) from None
        except ValueError:
            raise ConfigError(self.setting, str(path), "a file of text in UTF-8") from None
