"""Reads the settings of the cache: of each model, and the file that holds the answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .cache_settings import CacheMode, CacheSettings, CacheShare, ModelCache
from .value_types import OneOf, Seconds, TextLine, TextLines, ValueType, WholeNumber

#: systemd's variable with the directories of ``CacheDirectory=``, separated by colons (systemd.exec(5)).
CACHE_DIRECTORY = "CACHE_DIRECTORY"


#: The fields of ``[models.NAME]``.
MODEL_CACHE: Mapping[str, ValueType] = {
    "cache": OneOf(f"one of {', '.join(CacheMode)}", tuple(CacheMode)),
    "cache_seconds": Seconds("a number of seconds above 0"),
    "cache_share": OneOf(f"one of {', '.join(CacheShare)}", tuple(CacheShare)),
}
#: The fields of ``[cache]``.
CACHE: Mapping[str, ValueType] = {
    "path": TextLine("the path of a directory"),
    "max_bytes": WholeNumber("a whole number of bytes, at least 1048576", 1 << 20, 1 << 40),
    "fields": TextLines("a list of fields of requests, such as user"),
}


def model_cache_of(fields: Mapping[str, Any]) -> ModelCache:
    """The cache of a model among its checked fields."""
    values: dict[str, Any] = {}
    if "cache" in fields:
        values["mode"] = CacheMode(fields["cache"])
    if "cache_seconds" in fields:
        values["seconds"] = fields["cache_seconds"]
    if "cache_share" in fields:
        values["share"] = CacheShare(fields["cache_share"])
    return ModelCache(**values)


def cache_of(fields: Mapping[str, Any], folder: Path) -> CacheSettings:
    """The settings of the cache. A relative directory is relative to the settings file."""
    values = dict(fields)
    if "path" in values:
        values["path"] = str(folder / values["path"])
    if "fields" in values:
        values["fields"] = tuple(sorted(values["fields"]))
    return CacheSettings(**values)


def in_force(cache: CacheSettings, environ: Mapping[str, str]) -> CacheSettings:
    """The same with the directory that systemd made, if the file names none."""
    made, _, _ = environ.get(CACHE_DIRECTORY, "").partition(":")
    if cache.path is None and made.startswith("/"):
        return msgspec.structs.replace(cache, path=made)
    return cache
