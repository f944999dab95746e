"""A request's headers, as the server has them: werkzeug's view of them costs several times as much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Gives a header of a request by its name; ``None`` when it was not sent, or is empty: there are clients that
#: send every header they know, with or without a value.
Header = Callable[[str], str | None]


class _Keys(dict[str, str]):
    """Under which key of a WSGI environment (PEP 3333) a header stands. Only asked for names of our own."""

    def __missing__(self, name: str) -> str:
        self[name] = key = "HTTP_" + name.upper().replace("-", "_")
        return key


_KEYS = _Keys()


def header_of(environ: Mapping[str, Any]) -> Header:
    """The reader of one request's headers."""

    def header(name: str) -> str | None:
        value: str | None = environ.get(_KEYS[name])
        return None if not value or value.isspace() else value

    return header
