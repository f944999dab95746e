"""Matches requests with the paths of an upstream that callers may ask for as they are: ``GET files/*``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

#: A path that a caller may name: no percent-encoding, so that gateway and upstream read the same one.
_PATH = re.compile(r"[A-Za-z0-9_.:@~-]+(?:/[A-Za-z0-9_.:@~-]+)*").fullmatch
#: The longest path, characters.
MAX_PATH = 1024


class RawPath(msgspec.Struct, frozen=True):
    """A method, and a path below the base URL. ``*`` in it is any text of one segment, ``**`` of several."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def is_path(path: str) -> bool:
    """Whether a path leads nowhere else: no empty segment, none of dots alone, nothing encoded."""
    if len(path) > MAX_PATH or not _PATH(path):
        return False
    return all(segment.strip(".") for segment in path.split("/"))


def matching(patterns: Sequence[RawPath], method: str, path: str) -> RawPath | None:
    """The first pattern that allows the request; ``None`` if none does."""
    if not is_path(path):
        return None
    return next((one for one in patterns if one.method == method and _expression(one.path)(path)), None)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> Callable[[str], re.Match[str] | None]:
    escaped = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
    return re.compile(escaped).fullmatch
