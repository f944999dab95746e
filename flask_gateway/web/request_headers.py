"""Reads request headers from the WSGI environment: werkzeug's ``request.headers`` is several times slower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Returns a header of a request by its name; ``None`` if it is missing or empty. Some clients send every
#: header they know, with or without a value.
Header = Callable[[str], str | None]


class _Keys(dict[str, str]):
    """Maps a header's name to its key in the WSGI environment (PEP 3333). Only our code chooses the names, so
    the cache is bounded."""

    def __missing__(self, name: str) -> str:
        self[name] = key = "HTTP_" + name.upper().replace("-", "_")
        return key


_KEYS = _Keys()


def environ_keys(*names: str) -> tuple[str, ...]:
    """The keys of these headers in a WSGI environment.

    ``environ.keys().isdisjoint(...)`` tells in one step that a request has none of them, as most requests.
    """
    return tuple(_KEYS[name] for name in names)


def header_of(environ: Mapping[str, Any]) -> Header:
    """A function that reads the headers of one request."""

    def header(name: str) -> str | None:
        value: str | None = environ.get(_KEYS[name])
        return None if not value or value.isspace() else value

    return header
