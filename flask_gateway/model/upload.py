"""Defines the form of a call that uploads files: its protocol, and that of a body in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec


class LongBody(Protocol):
    """A request body that is not held in memory. It may be read several times, by one reader at a time."""

    def __len__(self) -> int:
        """Return its length, bytes."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its beginning."""
        ...


class Upload(Protocol):
    """A form in ``multipart/form-data`` (RFC 7578), of which the files are on disk.

    :ivar content_type: of the form as it is sent to upstreams.
    :ivar files: how many files it has. :ivar size: their bytes.
    :ivar seconds: of sound in them, as far as their form shows, else estimated from their bytes.
    """

    @property
    def content_type(self) -> str: ...

    @property
    def files(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def seconds(self) -> int: ...

    def body(self, model: str, fields: Mapping[str, msgspec.Raw]) -> LongBody:
        """Return the form to send. The model comes first, since some providers read it before the file.

        :param model: the upstream's name for it.
        :param fields: of the call. A field that the settings changed replaces the caller's.
        """
        ...

    def close(self) -> None:
        """Delete the files. May be called again."""
        ...
