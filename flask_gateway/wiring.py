"""The one room that knows everybody: from settings to a gateway that answers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .callers import Callers
from .config import Settings, UpstreamSettings
from .core import SECOND, Caller, Guard, Service, Store
from .dispatch import Candidate, Dispatcher, Guarded
from .guards.breaker import Breaker, Policy
from .guards.bulkhead import CallerBulkhead, UpstreamBulkhead
from .guards.limiter import Limiter
from .guards.slots import Slots
from .observers.log import log_to
from .record import Recorded
from .routing import Routes, Target
from .stores import open_store
from .upstreams import open_upstream
from .upstreams.http import Http

#: A probe that has not ended this long after the longest accepted silence no longer blocks the next.
PROBE_GRACE = 2.0


class Gateway(msgspec.Struct, frozen=True):
    """All there is, in ``app.extensions["gateway"]``. Shared by all threads of a process."""

    settings: Settings
    callers: Callers
    routes: Routes
    limiter: Limiter
    breakers: tuple[Breaker, ...]
    store: Store
    recorded: Recorded

    @property
    def service(self) -> Service:
        """What answers calls, read outermost first: recorded, limited, dispatched, protected."""
        return self.recorded


def build(settings: Settings, store: Store | None = None) -> Gateway:
    """The gateway for those settings. To be called after the fork: it opens what cannot be shared.

    :param store: instead of the one that the settings name.
    :raises ValueError: an upstream or a store cannot be opened as it is set.
    """
    store = store or open_store(settings.state, settings.machines)
    limiter, slots = Limiter(store), Slots(store)
    breakers = {upstream.name: _breaker(upstream.name, settings, store) for upstream in settings.upstreams}
    http = Http(settings.request_timeout_seconds, upstreams=len(settings.upstreams))
    services = {
        upstream.name: Guarded(
            open_upstream(upstream, http), _guards(upstream, breakers[upstream.name], slots)
        )
        for upstream in settings.upstreams
    }
    routes = _routes(settings)

    def candidates(model: str) -> Iterator[Candidate]:
        for target in routes.targets(model):
            yield services[target.upstream], target.model

    recorded = Recorded(
        Guarded(Dispatcher(candidates), [CallerBulkhead(slots), limiter]), [log_to(settings.log)]
    )
    return Gateway(
        settings=settings,
        callers=_callers(settings),
        routes=routes,
        limiter=limiter,
        breakers=tuple(breakers.values()),
        store=store,
        recorded=recorded,
    )


def _guards(upstream: UpstreamSettings, breaker: Breaker, slots: Slots) -> list[Guard]:
    """What stands before an upstream. The breaker first: while it is open, that costs but a read."""
    limit = upstream.max_in_flight
    return [breaker, UpstreamBulkhead(upstream.name, limit, slots)] if limit else [breaker]


def _breaker(upstream: str, settings: Settings, store: Store) -> Breaker:
    policy = Policy(
        max_failures=settings.circuit_breaker_max_failures,
        reset=int(settings.circuit_breaker_reset_seconds * SECOND),
        lease=int((settings.request_timeout_seconds + PROBE_GRACE) * SECOND),
    )
    return Breaker(upstream, store, policy)


def _routes(settings: Settings) -> Routes:
    models = {model.name: Target(model.upstream, model.model) for model in settings.models}
    names = tuple(upstream.name for upstream in settings.upstreams)
    return Routes(names, models, settings.default_upstream)


def _callers(settings: Settings) -> Callers:
    general = settings.rate_limit_per_minute
    return Callers(
        {
            key.digest: Caller(
                id=key.id,
                rate_limit=general if key.rate_limit_per_minute is None else key.rate_limit_per_minute,
                models=key.models,
                max_concurrent=settings.max_concurrent_per_key,
            )
            for key in settings.keys
        }
    )
