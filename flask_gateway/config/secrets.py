"""Reads secrets: checks keys, follows references to variables and files, and hashes callers' keys."""

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

#: The default key. It is published in the documentation, so it protects nothing.
DEV_KEY = "dev-key"

#: The characters of a Bearer token in one header.
_USABLE = re.compile(r"[\x21-\x7e]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: The usual form of variable names. Other text may be a secret, written in place of a name.
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

USABLE_KEY = "a key of visible ASCII characters, without spaces"

#: Minimum lengths of a caller's key, characters. Below the first it is weak, below the second guessable.
SHORT_KEY, GUESSABLE_KEY = 16, 8
#: The minimum length of an admin's key, characters.
SHORTEST_ADMIN_KEY = 24


def digest(key: str) -> bytes:
    """The SHA-256 digest of a caller's key. The gateway keeps only these 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


DEV_KEY_DIGEST = digest(DEV_KEY)
_EMPTY_DIGEST = digest("")


class Masked(BaseType, frozen=True):
    """A type whose refused values are never shown, because they may be secrets."""

    def show(self, value: object) -> object:
        return MASK


class Key(Masked, frozen=True):
    def parse(self, text: str) -> str:
        if not _USABLE.fullmatch(text):
            raise InvalidValue(self.expected, None if text else "it is empty")
        return text


class AdminKey(Key, frozen=True):
    """A key that may change all others: too long to be guessed."""

    def parse(self, text: str) -> str:
        if len(text) < SHORTEST_ADMIN_KEY:
            raise InvalidValue(self.expected, "`openssl rand -hex 32` makes a good one")
        return super().parse(text)


class KeyList(Masked, frozen=True):
    """Keys separated by commas. Spaces around a comma are not part of a key."""

    def parse(self, text: str) -> tuple[str, ...]:
        places: dict[str, int] = {}
        for place, entry in enumerate(text.split(","), 1):
            key = entry.strip()
            refuse_wrapped(key, self.expected)
            if not key:
                raise InvalidValue(self.expected, f"key {place} is empty")
            if not _USABLE.fullmatch(key):
                raise InvalidValue(
                    self.expected, f"key {place} has a space or another character that is not allowed"
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
    """The name of an environment variable. An invalid name may be the secret itself, so it is masked."""

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
    """A known name that is refused here. The hint says where the value belongs."""

    hint: str

    def check(self, value: object) -> None:
        raise InvalidValue(self.expected, self.hint)


class SecretRef(msgspec.Struct, frozen=True):
    """A reference in the file to a secret. It is read only if the environment does not set the secret.

    :param setting: the dotted path of the field with the reference.
    :param place: the name of a variable, or the path of a file.
    :param folder: the base of a relative path; ``None`` when the place is a variable.
    """

    setting: str
    place: str
    folder: Path | None = None

    def follow(self, environ: Mapping[str, str], kind: ValueType) -> str:
        """Read the secret and check its type. Raises :class:`ConfigError`, which never shows the secret."""
        text = self._from(environ) if self.folder is None else self._from_file(self.folder / self.place)
        # The place exists, so its name is not the secret itself and may be shown.
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
            # An unreadable bare word may be a secret, written in place of a path.
            shown = str(path) if re.search("[/.]", self.place) else MASK
            raise ConfigError(self.setting, shown, "a file that can be read", error.strerror) from None
        except ValueError:
            raise ConfigError(self.setting, str(path), "a file of text in UTF-8") from None
