"""The one room that knows everybody: from settings to a gateway that answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b, sha256
from typing import NamedTuple

import msgspec

from ..auth.api_keys import ApiKeyTable
from ..auth.lockout import KeyGuessLimiter
from ..config.schema import (
    Authorities,
    Balance,
    CandidateSettings,
    ModelSettings,
    Settings,
    Timeouts,
    UpstreamSettings,
)
from ..dialects.openai import error_event
from ..guards.body_memory import BodyMemory
from ..guards.breaker import Breaker
from ..guards.breaker_state import Phase, Policy
from ..guards.bulkhead import UNLIMITED, CallerBulkhead, UpstreamBulkhead, upstream_key
from ..guards.inflight import InFlightCalls, UpstreamThreadQuota
from ..guards.leases import ConcurrencyLeases
from ..guards.rate_limiter import RateLimiter
from ..model.call import Caller
from ..model.protocols import Guard, Service
from ..reactor import Reactor
from ..routing.affinity import Affinity
from ..routing.dispatcher import Dispatcher, Guarded
from ..routing.load_balancing import Balancer
from ..routing.origins import Origins
from ..routing.routes import Route, Routes, Target, Tier
from ..state import open_store
from ..state.store import SECOND, Store
from ..streaming.buffered import BufferedStreams
from ..telemetry.access_log import log_to
from ..telemetry.log_output import STDERR
from ..telemetry.metric_families import families
from ..telemetry.metrics import Metrics
from ..telemetry.request_record import RecordingService
from ..upstreams import open_upstream
from ..upstreams.model_list import models_of
from ..upstreams.stream_options import StreamOptions
from ..upstreams.transport.client import UpstreamClient
from .candidates import Candidates, Endpoint
from .catalog import Ask, Catalog

#: A probe that has not ended this long after its upstream must have begun to answer no longer blocks the
#: next. One that is a long stream goes on beside it, and still counts at its end.
PROBE_GRACE = 2.0

#: The background thread of this process. It begins when it is first needed, so not before the fork.
REACTOR = Reactor()

#: Set when this process is about to end, by whoever ends it: no new calls are taken from then on.
DRAINING = threading.Event()


class Gateway(msgspec.Struct, frozen=True):
    """All there is, in ``app.extensions["gateway"]``. Shared by all threads of a process."""

    settings: Settings
    strikes: KeyGuessLimiter
    routes: Routes
    candidates: Candidates
    limiter: RateLimiter
    breakers: tuple[Breaker, ...]
    #: Of the upstreams that may be asked for the usage of streams.
    stream_options: tuple[StreamOptions, ...]
    slots: ConcurrencyLeases
    store: Store
    http: UpstreamClient
    recorded: RecordingService
    metrics: Metrics
    reactor: Reactor
    underway: InFlightCalls
    body_memory: BodyMemory
    catalog: Catalog
    draining: threading.Event
    #: The longest that a call may take, seconds, however many upstreams it is tried on.
    longest: float
    #: When it was made of its settings, seconds since the epoch.
    built: float

    @property
    def service(self) -> Service:
        """What answers calls, read outermost first: recorded, limited, dispatched, protected."""
        return self.recorded

    def listed(self) -> dict[str, str]:
        """The model names that can be listed, each with the upstream that is asked first.

        Those of the settings; and those that upstreams list, by the shortest name that asks for them.
        """
        return self.routes.listed(self.catalog.models)


def build(settings: Settings, store: Store | None = None) -> Gateway:
    """The gateway for those settings. To be called after the fork: it opens what cannot be shared.

    :param store: instead of the one that the settings name.
    :raises ValueError: an upstream or a store cannot be opened as it is set.
    """
    metrics = Metrics(families(), (), ())
    STDERR.on_drop, shed = metrics.log_dropped, metrics.shed
    store = store or open_store(
        settings.state, settings.machines, settings.state_namespace or "", metrics.fell_back
    )
    underway, body_memory = InFlightCalls(settings.max_streams, shed=shed), BodyMemory(shed)
    lasting = _CarriedOver(store, ConcurrencyLeases(store), underway, body_memory, Catalog(), _http(settings))
    return _build(settings, lasting)


def rebuild(settings: Settings, before: Gateway) -> Gateway:
    """The gateway for other settings in the same process: with the same store, and with what is held and
    what is under way. The connections are kept if the upstreams are where they were; else the
    caller retires the old ones.

    :raises ValueError: an upstream cannot be opened as it is set.
    """
    same = _addresses(settings) == _addresses(before.settings)
    http = before.http if same else _http(settings)
    http.resize(settings.max_streams)
    kept = (before.store, before.slots, before.underway, before.body_memory, before.catalog)
    return _build(settings, _CarriedOver(*kept, http))


def _addresses(settings: Settings) -> set[tuple[str, Authorities | None]]:
    """Where the upstreams are, and by whose word it is they."""
    return {(one.url, one.ca_file) for one in settings.upstreams}


class _CarriedOver(NamedTuple):
    """What is not made anew when settings change."""

    store: Store
    slots: ConcurrencyLeases
    underway: InFlightCalls
    body_memory: BodyMemory
    catalog: Catalog
    http: UpstreamClient


def _http(settings: Settings) -> UpstreamClient:
    return UpstreamClient(REACTOR, pool_size=settings.max_streams, upstreams=len(settings.upstreams))


def _build(settings: Settings, lasting: _CarriedOver) -> Gateway:
    store, slots, underway, body_memory, catalog, http = lasting
    limiter, routes = RateLimiter(store), _routes(settings)
    metrics = _metrics(settings, routes, catalog)
    options = {
        one.name: StreamOptions(one.name, one.url, store)
        for one in settings.upstreams
        if one.stream_usage and not one.url.startswith("mock:")
    }
    found = _places(settings, routes, lasting, metrics, options)
    places = {(place.upstream, place.model): place for place in found}
    balancer = Balancer(store, lambda upstream: slots.taken(upstream_key(upstream)))
    candidates = Candidates(routes, balancer, slots, places)
    underway.change(settings.max_streams, len(settings.keys), len(settings.upstreams))
    catalog.change(_asked_for_models(settings, http))
    body_memory.change(settings.body_memory_bytes, settings.max_body_bytes, len(settings.keys))
    dispatcher = Dispatcher(candidates, candidates.continuers)
    several = len(settings.upstreams) > 1
    affinity = Affinity(dispatcher, candidates.upstreams, Origins(store), several=several)
    guarded = Guarded(BufferedStreams(affinity, error_event), [underway, CallerBulkhead(slots), limiter])
    return Gateway(
        settings=settings,
        strikes=_strikes(settings, store),
        routes=routes,
        candidates=candidates,
        limiter=limiter,
        breakers=tuple(place.breaker for place in places.values()),
        stream_options=tuple(options.values()),
        slots=slots,
        store=store,
        http=http,
        recorded=RecordingService(guarded, [log_to(settings.log), metrics], prompts=settings.log_prompts),
        metrics=metrics,
        reactor=REACTOR,
        underway=underway,
        body_memory=body_memory,
        catalog=catalog,
        draining=DRAINING,
        longest=max(place.clocks.total for place in places.values()),
        built=time.time(),
    )


def _metrics(settings: Settings, routes: Routes, catalog: Catalog) -> Metrics:
    models = {*routes.listed(), *settings.fallbacks}
    upstreams = [upstream.name for upstream in settings.upstreams]
    return Metrics(families(), models, upstreams, lambda model: model in catalog.names)


def _asked_for_models(settings: Settings, http: UpstreamClient) -> dict[str, Ask]:
    """How the upstreams that list their models are asked for them."""
    asked = {upstream.name: upstream for upstream in settings.upstreams if upstream.list_models}
    return {name: lambda name: models_of(asked[name], http) for name in asked}


def _places(
    settings: Settings,
    routes: Routes,
    lasting: _CarriedOver,
    metrics: Metrics,
    options: Mapping[str, StreamOptions],
) -> Iterator[Endpoint]:
    """Every upstream for whatever it is asked, and every configured model of it with a breaker of its own."""
    store, slots, underway, http = lasting.store, lasting.slots, lasting.underway, lasting.http
    balanced, own = _balanced(settings), _own_settings(settings)
    configured = list(routes.configured())
    for upstream in settings.upstreams:
        clocks = _clocks(upstream, settings)
        slot = _slot(upstream.name, upstream.max_in_flight, upstream.name in balanced, slots)
        for model in (None, *(target.model for target in configured if target.upstream == upstream.name)):
            mine = own.get((upstream.name, model), CandidateSettings(upstream=upstream.name, model=""))
            its_clocks = clocks.with_own(mine.clocks)
            service = open_upstream(upstream, http, its_clocks, options.get(upstream.name))
            breaker = _breaker(upstream, model, store, _policy(its_clocks, settings), metrics)
            pair = f"{upstream.name}/{model}"
            # The breaker first: while it is open, a call costs but a read.
            share = UpstreamThreadQuota(upstream.name, underway)
            guards: list[Guard] = [breaker, share, *slot, *_slot(pair, mine.max_in_flight, False, slots)]
            yield Endpoint(
                upstream=upstream.name,
                model=model,
                service=Guarded(service, guards),
                breaker=breaker,
                clocks=its_clocks,
                limits={upstream.name: upstream.max_in_flight, pair: mine.max_in_flight},
                continues=upstream.continues,
            )


def _clocks(upstream: UpstreamSettings, settings: Settings) -> Timeouts:
    return upstream.clocks or Timeouts.within(
        settings.request_timeout_seconds, settings.answer_timeout_seconds
    )


def _own_settings(settings: Settings) -> dict[tuple[str, str | None], CandidateSettings]:
    """What candidates have of their own, by upstream and model. Where two routes differ, the first counts."""
    tiers = [tier for model in settings.models for tier in model.tiers]
    own = [one for tier in tiers for one in tier if one.clocks or one.max_in_flight]
    return {(one.upstream, one.model): one for one in reversed(own)}


def _balanced(settings: Settings) -> frozenset[str]:
    """The upstreams whose calls under way are counted even without a limit, to find the least busy."""
    routes = [model for model in settings.models if model.balance is Balance.LEAST_REQUESTS]
    return frozenset(one.upstream for model in routes for tier in model.tiers for one in tier)


def _slot(name: str, limit: int, counted: bool, slots: ConcurrencyLeases) -> list[Guard]:
    limit = limit or (UNLIMITED if counted else 0)
    return [UpstreamBulkhead(name, limit, slots)] if limit else []


def _breaker(
    upstream: UpstreamSettings, model: str | None, store: Store, policy: Policy, metrics: Metrics
) -> Breaker:
    def count(before: Phase, after: Phase) -> None:
        metrics.breaker_changed(upstream.name, model, before.name.lower(), after.name.lower())

    return Breaker(upstream.name, store, policy, model, count, _identified(upstream, policy))


def _identified(upstream: UpstreamSettings, policy: Policy) -> str:
    """Identify the settings that a breaker's state belongs to: the server, our key for it, the policy."""
    key = upstream.api_key.reveal() if upstream.api_key else ""
    return blake2b(repr((upstream.url, key, policy)).encode(), digest_size=6).hexdigest()


def _policy(clocks: Timeouts, settings: Settings) -> Policy:
    return Policy(
        max_failures=settings.circuit_breaker_max_failures,
        reset=int(settings.circuit_breaker_reset_seconds * SECOND),
        lease=int((max(clocks.first_byte, clocks.first_token) + PROBE_GRACE) * SECOND),
        answer_lease=int((clocks.answer + PROBE_GRACE) * SECOND),
        successes=settings.circuit_breaker_successes,
        slow=int(settings.circuit_breaker_slow_seconds * SECOND),
    )


def _routes(settings: Settings) -> Routes:
    return Routes(
        upstreams=tuple(upstream.name for upstream in settings.upstreams),
        models={model.name: _route(model) for model in settings.models},
        default=settings.default_upstream,
        fallbacks={name: _tier(chain) for name, chain in settings.fallbacks.items()},
        providers=frozenset(one.name for one in settings.upstreams if _is_provider(one)),
    )


def _is_provider(upstream: UpstreamSettings) -> bool:
    """Whether it is an account at a provider of many models, such as ``openai=https://api.openai.com``. One's
    own server is usually named after the model that it serves."""
    return upstream.api_key is not None and upstream.url.startswith("https://")


def _route(model: ModelSettings) -> Route:
    tiers = tuple(_tier(tier) for tier in model.tiers)
    return Route(model.name, tiers, str(model.balance), model.whole)


def _tier(candidates: tuple[CandidateSettings, ...]) -> Tier:
    return tuple(Target(one.upstream, one.model, one.weight) for one in candidates)


def _strikes(settings: Settings, store: Store) -> KeyGuessLimiter:
    secret = sha256(b"".join(key.digest for key in settings.keys)).digest()
    return KeyGuessLimiter(_callers(settings).identify, store, settings.failed_keys_per_minute, secret)


def _callers(settings: Settings) -> ApiKeyTable:
    general = settings.rate_limit_per_minute
    return ApiKeyTable(
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
