"""Builds the cache of answers. Imported only where a model asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ..cache.entries import Entries, MemoryEntries
from ..cache.flights import Flights
from ..cache.keys import IGNORED
from ..cache.service import CachedModel, CachedService, CacheParts
from ..cache.writer import Writer
from ..config.cache_settings import CacheMode, CacheSettings
from ..config.schema import ModelSettings, Settings
from ..model.protocols import Service
from ..routing.routes import Routes
from ..telemetry.metrics import Reports


class Caching(msgspec.Struct, frozen=True):
    """The cache of this process, which a reload keeps, and the models of its settings.

    :param models: by their names and aliases. :param ignored: the fields that tell no answers apart.
    """

    parts: CacheParts
    models: dict[str, CachedModel]
    ignored: frozenset[str]

    def around(self, service: Service) -> CachedService:
        return CachedService(service, self.models, self.ignored, self.parts)


def caching_of(settings: Settings, before: Caching | None, reports: Reports, routes: Routes) -> Caching:
    """The cache for those settings.

    :param before: the one before a reload: its entries are kept. ``None``: they are opened.
    """
    parts = before.parts if before is not None else _open(settings.cache, reports)
    models = {name: one for model in settings.models for name, one in _cached(model, settings, routes)}
    return Caching(parts, models, IGNORED - set(settings.cache.fields))


def is_shared(cache: CacheSettings) -> bool:
    """Whether all workers have the same answers: there is a directory, and the library for it."""
    return cache.path is not None and find_spec("lmdb") is not None


def open_entries(cache: CacheSettings) -> Entries:
    """The entries that the settings name."""
    if cache.path is None or not is_shared(cache):
        return MemoryEntries(cache.max_bytes)
    from ..cache.lmdb_file import LmdbEntries

    return LmdbEntries(Path(cache.path), cache.max_bytes)


def _open(cache: CacheSettings, reports: Reports) -> CacheParts:
    entries = open_entries(cache)
    writer = Writer(entries, reports.cache_written)
    writer.run(entries.open)
    return CacheParts(entries, writer, Flights(), reports)


def _cached(model: ModelSettings, settings: Settings, routes: Routes) -> Iterator[tuple[str, CachedModel]]:
    """The model under each of its names, if its answers are kept."""
    if model.cache.mode is CacheMode.OFF:
        return
    clocks = [one.clocks for one in settings.upstreams if one.name == model.upstream]
    silence = settings.request_timeout_seconds
    patience = clocks[0].first_byte if clocks and clocks[0] is not None else silence
    first = frozenset((one.upstream, one.model) for one in model.tiers[0])
    found = CachedModel(model.name, model.cache, _digest(model, settings), first, patience)
    for name in (model.name, *model.aliases):
        yield name, found


def _digest(model: ModelSettings, settings: Settings) -> bytes:
    """Identify a model and its route: the places that may answer, and what is written into its calls."""
    used = {one.upstream for tier in model.tiers for one in tier}
    places = [
        (one.name, one.url, one.kind, sorted(one.speaks or ()), one.quirks, one.stream_usage)
        for one in settings.upstreams
        if one.name in used
    ]
    return sha256(repr((model.name, model.tiers, model.whole, places)).encode()).digest()
