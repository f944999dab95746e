"""Answers calls from kept answers, and keeps those of the service within (a ``protocols.Service``).

Guards are outside, so limits apply to hits, too. Breakers and limits of upstreams are inside and see none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import msgspec

from ..config.cache_settings import ModelCache
from ..model.call import ANTHROPIC, Call, Outcome
from ..model.errors import NotCached
from ..model.protocols import Service
from ..model.reply import Reply
from . import policy
from .entries import Entries
from .entry import KeptAnswer
from .flights import Flight, Flights
from .keys import key_of, owner_of
from .replay import Capture, replayed
from .writer import Writer

HEADER = "x-gateway-cache"


class CachedModel(msgspec.Struct, frozen=True):
    """A model whose answers are kept.

    :param route: a digest of its name and its route.
    :param first: the upstreams of its first tier, each with its name for the model.
    :param patience: how long an equal request may wait for another one's answer, seconds.
    """

    name: str
    cache: ModelCache
    route: bytes
    first: frozenset[tuple[str, str]]
    patience: float


class CacheCounts(Protocol):
    """Counts what the cache does (``telemetry.metrics.Reports``)."""

    def cache_lookup(self, model: str, result: str) -> None: ...

    def cache_refused(self, reason: str) -> None: ...

    def cache_saved(self, model: str, tokens: int, nano: int) -> None: ...


class CacheParts(msgspec.Struct, frozen=True):
    """The parts of a cache that outlast a reload of the settings."""

    entries: Entries
    writer: Writer
    flights: Flights
    counts: CacheCounts


class CachedService:
    """Wraps the service that asks upstreams. Threads share it; a reload makes another one of the same parts.

    :param models: by the names that callers use. :param ignored: the fields that tell no answers apart.
    :param clock: seconds since the epoch: processes share entries.
    """

    def __init__(
        self,
        service: Service,
        models: Mapping[str, CachedModel],
        ignored: frozenset[str],
        parts: CacheParts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = service.name
        self._service, self._models, self._ignored, self._clock = service, models, ignored, clock
        self._entries, self._writer = parts.entries, parts.writer
        self._flights, self._counts = parts.flights, parts.counts

    def send(self, call: Call) -> Reply:
        model = self._models.get(call.model)
        if model is None:
            return self._uncached(call)
        if reason := policy.bypass(call, model.cache):
            self._counts.cache_refused(reason)
            self._counts.cache_lookup(model.name, "bypass")
            reply = self._uncached(call)
            reply.headers[HEADER] = "bypass"
            return reply
        key = key_of(call, owner_of(call.caller, model.cache.share), model.route, self._ignored)
        if not call.cache.no_cache and (entry := self._fresh(key, call, model)) is not None:
            return self._hit(call, model, entry)
        if call.stream or call.cache.no_cache or call.cache.only_if_cached:
            return self._miss(call, model, key, None)
        return self._together(call, model, key)

    def _uncached(self, call: Call) -> Reply:
        if call.cache.only_if_cached:
            raise _not_cached()
        return self._service.send(call)

    def _fresh(self, key: bytes, call: Call, model: CachedModel) -> KeptAnswer | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        oldest = model.cache.seconds
        if call.cache.max_age is not None:
            oldest = min(oldest, call.cache.max_age)
        return entry if self._clock() - entry.stored < oldest else None

    def _hit(self, call: Call, model: CachedModel, entry: KeptAnswer) -> Reply:
        self._counts.cache_lookup(model.name, "hit")
        self._counts.cache_saved(model.name, entry.tokens, entry.cost)
        reply = replayed(call, entry)
        age = str(max(0, int(self._clock() - entry.stored)))
        reply.headers.update({HEADER: "hit", "age": age, "x-gateway-upstream": entry.upstream})
        if call.operation in ANTHROPIC:
            reply.headers["request-id"] = call.ids.request
        return reply

    def _together(self, call: Call, model: CachedModel, key: bytes) -> Reply:
        """Ask once for equal requests that come at once, and share the answer."""
        flight, leads = self._flights.join(key)
        if flight is None or leads:
            return self._miss(call, model, key, flight)
        patience = min(model.patience, call.deadline - time.monotonic())
        if (entry := flight.wait(max(0.0, patience))) is not None:
            return self._hit(call, model, entry)
        return self._miss(call, model, key, None)

    def _miss(self, call: Call, model: CachedModel, key: bytes, flight: Flight | None) -> Reply:
        """Ask the service within, and keep its answer. :param flight: which the call leads."""
        entry: KeptAnswer | None = None
        try:
            self._counts.cache_lookup(model.name, "miss")
            reply = self._uncached(call)
            entry = self._watched(call, model, key, reply)
            return reply
        finally:
            if flight is not None:
                self._flights.land(key, flight, entry)

    def _watched(self, call: Call, model: CachedModel, key: bytes, reply: Reply) -> KeptAnswer | None:
        """Have an answer kept when it has ended. Return the entry of one in one piece: it may be shared."""
        reason = "" if (reply.upstream, reply.model) in model.first else "later tier"
        if not (reason or call.stream):
            reason = policy.refused_body(reply.begun)
        if reason:
            self._counts.cache_refused(reason)
            reply.headers[HEADER] = f"stored-not ({reason})"
            return None
        reply.headers[HEADER] = "miss"
        capture = Capture(reply.transcript)
        reply.retell(capture)
        reply.on_settled(partial(self._ended, call, key, reply, capture))
        return None if call.stream else self._entry(call, reply, capture)

    def _ended(self, call: Call, key: bytes, reply: Reply, capture: Capture, outcome: Outcome) -> None:
        reason = policy.refused(outcome, capture.dropped, capture.body)
        if not reason and not self._writer.put(key, self._entry(call, reply, capture)):
            reason = "busy"
        if reason:
            self._counts.cache_refused(reason)

    def _entry(self, call: Call, reply: Reply, capture: Capture) -> KeptAnswer:
        usage = capture.usage
        legs = (call.spend.legs or ()) if call.spend is not None else ()
        return KeptAnswer(
            stored=self._clock(),
            content_type=capture.content_type,
            upstream=reply.upstream,
            tokens=usage.prompt_tokens + usage.completion_tokens if usage is not None else 0,
            cost=sum(leg.cost or 0 for leg in legs),
            body=capture.body,
        )


def _not_cached() -> NotCached:
    return NotCached(
        "This answer is not in the cache, and the request asks for nothing else ('only-if-cached'). "
        "Send it without that directive of 'Cache-Control'."
    )
