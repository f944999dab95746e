"""Defines the settings of the cache, with the default of each."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class CacheMode(StrEnum):
    """The answers of a model that are kept."""

    OFF = "off"
    #: Those whose request says ``Cache-Control: max-age=N``.
    ASKED = "asked"
    #: Those without chance: temperature 0, a seed, or nothing is sampled.
    DETERMINISTIC = "deterministic"
    ALL = "all"


class CacheShare(StrEnum):
    """The callers who get each other's answers."""

    KEY = "key"
    TEAM = "team"
    ALL = "all"


class ModelCache(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers of a model are kept, for how many seconds, and for whom."""

    mode: CacheMode = CacheMode.OFF
    seconds: float = 3600.0
    share: CacheShare = CacheShare.KEY


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where answers are kept.

    :param path: a directory on this machine, for all workers; ``None``: each worker has its own memory.
    :param max_bytes: the most bytes of the file, or of each worker's memory.
    :param fields: the fields of requests that tell answers apart although they usually do not.
    """

    path: str | None = None
    max_bytes: int = 256 * 1024 * 1024
    fields: tuple[str, ...] = ()
