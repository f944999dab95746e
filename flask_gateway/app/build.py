"""Builds a gateway from settings. This is the only module that imports every package it wires together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..auth.lockout import KeyGuessLimiter
from ..config.cache_settings import CacheMode
from ..config.schema import (
    Settings,
)
from ..guards.body_memory import BodyMemory
from ..guards.breaker import Breaker
from ..guards.bulkhead import CallerBulkhead, upstream_key
from ..guards.inflight import InFlightCalls
from ..guards.leases import ConcurrencyLeases
from ..guards.rate_limiter import RateLimiter
from ..guards.slots_ahead import AheadGuard, SlotsAhead
from ..guards.together import Foreseeing, TogetherGuard
from ..guards.token_estimate import Estimates
from ..guards.token_limiter import TokenLimiter
from ..model.call import MESSAGES_BODY, Operation
from ..model.protocols import Guard, KeySource, Service
from ..reactor import Reactor
from ..routing.affinity import Affinity
from ..routing.dispatcher import Dispatcher, Guarded
from ..routing.load_balancing import Balancer
from ..routing.origins import Origins
from ..routing.routes import Routes
from ..state import open_store
from ..state.store import Store
from ..state.together import TogetherStore
from ..streaming.buffered import BufferedStreams
from ..telemetry.access_log import log_to
from ..telemetry.log_output import STDERR
from ..telemetry.metric_families import families
from ..telemetry.metrics import KeyLabels, Metrics, Reports
from ..telemetry.request_record import Facts, Observer, RecordingService
from ..upstreams.model_list import models_of
from ..upstreams.renewed_keys import RenewedKeys
from ..upstreams.stream_options import StreamOptions
from ..upstreams.transport.client import UpstreamClient
from .candidates import Candidates
from .catalog import Ask, Catalog
from .configured_routes import configured_routes
from .endpoints import endpoints_of
from .extensions import Extend, nothing
from .key_source import issued_keys, key_guess_limiter, key_labels, key_source
from .sessions import Sessions, sessions_of

if TYPE_CHECKING:
    from ..auth.issued_keys import IssuedKeys
    from ..plugins.chain import Plugins
    from ..telemetry.page_rings import PageRings
    from ..tracing.exporting import Traces
    from .accounting import Accounting
    from .caching import Caching

#: The background thread of this process. It starts at its first use, so not before the fork.
REACTOR = Reactor()

#: Set when this process shuts down: from then on it accepts no new calls.
DRAINING = threading.Event()


class Gateway(msgspec.Struct, frozen=True):
    """All parts of a gateway, in ``app.extensions["gateway"]``. Shared by all threads of a process."""

    settings: Settings
    keys: KeySource
    key_guesses: KeyGuessLimiter
    routes: Routes
    candidates: Candidates
    limiter: RateLimiter
    breakers: tuple[Breaker, ...]
    #: One for each upstream that may be asked to report the usage of streams.
    stream_options: tuple[StreamOptions, ...]
    leases: ConcurrencyLeases
    store: Store
    http: UpstreamClient
    #: Answers calls. From the outside in it records, limits, dispatches and protects.
    service: RecordingService
    metrics: Metrics
    reactor: Reactor
    inflight: InFlightCalls
    body_memory: BodyMemory
    #: The space on disk for forms with files.
    upload_space: BodyMemory
    catalog: Catalog
    #: The keys that commands print, for upstreams that have one.
    renewed_keys: RenewedKeys
    estimates: Estimates
    draining: threading.Event
    #: The longest that a call may take, seconds, over all its attempts.
    longest: float
    #: When it was built, seconds since the epoch.
    built: float
    #: Makes what others add to it; a reload asks again.
    extend: Extend = nothing
    #: The ledger and the prices; ``None`` where no ledger is kept.
    accounting: Accounting | None = None
    #: The keys that admins issue; ``None`` where no data directory is set.
    issued: IssuedKeys | None = None
    #: The services of WebSocket sessions; ``None`` where no upstream speaks such an operation.
    sessions: Sessions | None = None
    #: The past that the operator's page shows; ``None`` where no admin's key is set.
    rings: PageRings | None = None
    #: Sends traces; ``None`` where no receiver is set.
    traces: Traces | None = None
    #: Keeps answers; ``None`` where no model asks for it.
    cache: Caching | None = None
    #: The plugins; ``None`` where the settings name none.
    plugins: Plugins | None = None

    def listed(self) -> dict[str, str]:
        """The model names to list, each with the upstream that is asked first.

        These are the models of the settings, and those that upstreams list, by the shortest name that works.
        """
        return self.routes.listed(self.catalog.models)


def build(settings: Settings, store: Store | None = None, extend: Extend = nothing) -> Gateway:
    """The gateway for those settings. Call it after the fork: it opens connections that cannot be shared.

    :param store: replaces the one that the settings name.
    :param extend: makes further guards, wrappers and observers (``extensions.py``).
    :raises ValueError: the settings of an upstream or of the store are unusable.
    """
    reports = Reports(families())
    STDERR.on_drop, shed = reports.log_dropped, reports.shed
    store = store or open_store(
        settings.state, settings.machines, settings.state_namespace or "", reports.fell_back
    )
    inflight = InFlightCalls(settings.max_streams, shed=shed)
    bodies = BodyMemory(shed), BodyMemory(shed, of="uploads")
    leases, catalog, http = ConcurrencyLeases(store), Catalog(), _http(settings)
    kept = (store, leases, inflight, *bodies, catalog, RenewedKeys())
    own = (issued_keys(settings, store, inflight), _rings(settings), _traces(settings, reports))
    return _build(settings, _CarriedOver(*kept, http, extend, Estimates(), None, *own, None, None))


def rebuild(settings: Settings, before: Gateway) -> Gateway:
    """The gateway for new settings in the same process, with the same store, leases and calls in flight.

    It keeps the connections, too, if the addresses of the upstreams are the same. Otherwise the caller
    retires the old ones.

    :raises ValueError: the settings of an upstream are unusable.
    """
    same = _addresses(settings) == _addresses(before.settings)
    http = before.http if same else _http(settings)
    http.resize(settings.max_streams)
    kept = (before.store, before.leases, before.inflight, before.body_memory, before.upload_space)
    further = (before.extend, before.estimates, before.accounting)
    own = (before.issued, before.rings, before.traces)
    more = (before.catalog, before.renewed_keys, http)
    return _build(settings, _CarriedOver(*kept, *more, *further, *own, before.cache, before.plugins))


def _addresses(settings: Settings) -> set[tuple[object, ...]]:
    """The URLs of the upstreams, and how each is reached."""
    return {(each.url, each.ca_file, each.client_cert, each.proxy) for each in settings.upstreams}


class _CarriedOver(NamedTuple):
    """The parts that a reload keeps."""

    store: Store
    leases: ConcurrencyLeases
    inflight: InFlightCalls
    body_memory: BodyMemory
    upload_space: BodyMemory
    catalog: Catalog
    renewed_keys: RenewedKeys
    http: UpstreamClient
    extend: Extend
    estimates: Estimates
    accounting: Accounting | None
    issued: IssuedKeys | None
    rings: PageRings | None
    traces: Traces | None
    cache: Caching | None
    plugins: Plugins | None


def _http(settings: Settings) -> UpstreamClient:
    return UpstreamClient(REACTOR, pool_size=settings.max_streams)


def _build(settings: Settings, carried: _CarriedOver) -> Gateway:
    store, leases, inflight, body_memory, upload_space, catalog, renewed = carried[:7]
    http, extend, estimates, _, issued, rings, traces, *_ = carried[7:]
    renewed.change(settings.upstreams)
    limiter, routes, keys = RateLimiter(store), configured_routes(settings), key_source(settings, issued)
    metrics = _metrics(settings, routes, catalog, key_labels(settings, issued))
    options = {
        upstream.name: StreamOptions(upstream.name, upstream.url, store)
        for upstream in settings.upstreams
        if upstream.stream_usage and not upstream.url.startswith("mock:")
    }
    ahead = SlotsAhead() if isinstance(store, TogetherStore) else None
    endpoints = {
        (endpoint.upstream, endpoint.model): endpoint
        for endpoint in endpoints_of(settings, routes, carried, metrics, options, ahead)
    }
    plugins = _plugins(settings, carried.plugins, metrics, routes)
    others = None if plugins is None else plugins.callers()
    callers = len(keys) + 2 * (others is not None)
    balancer = Balancer(store, lambda upstream: leases.in_flight(upstream_key(upstream)))
    candidates = Candidates(routes, balancer, leases, endpoints, ahead)
    inflight.change(settings.max_streams, callers, len(settings.upstreams))
    catalog.change(_model_sources(settings, http, renewed))
    body_memory.change(settings.body_memory_bytes, MESSAGES_BODY * settings.max_body_bytes, callers)
    upload_space.change(settings.upload_space_bytes, settings.max_upload_bytes, callers)
    dispatcher = Dispatcher(candidates, candidates.continuers)
    several = len(settings.upstreams) > 1
    origins, storing = Origins(store), _storing(settings)
    affinity = Affinity(dispatcher, candidates.upstreams, origins, several=several, storing=storing)
    more = extend(settings, store)
    tokens = TokenLimiter(store, estimates)
    slots, accounting = CallerBulkhead(leases), _accounting(settings, carried, metrics, candidates)
    asked: list[Foreseeing] = [limiter, tokens, *([] if accounting is None else [accounting.budgets])]
    later = [*more.guards, *([] if plugins is None else plugins.guards())]
    if accounting is not None:
        later.append(accounting.guard())
    cache = _caching(settings, carried.cache, metrics, routes)
    taken = [] if plugins is not None else _ahead(store, ahead, candidates, cache)
    limits = [inflight, *_of_caller(store, [slots, *asked, *taken]), *later]
    answering: Service = affinity
    if plugins is not None:  # kept answers are inspected, too
        answering = plugins.answering(cache.around(affinity) if cache is not None else affinity)
    else:
        answering = BufferedStreams(affinity)
        answering = cache.around(answering) if cache is not None else answering
    guarded: Service = Guarded(more.wrap(answering), limits)
    if accounting is not None:
        guarded = accounting.around(guarded)
    observers: list[Observer] = [log_to(settings.log), metrics, *more.observers]
    if plugins is not None:
        guarded = plugins.around(guarded)
        observers += plugins.observers()
    if rings is not None:
        metrics.note = rings.note
        observers.append(rings.observe)
    if traces is not None:
        observers.append(traces)
    each = [*_of_caller(store, asked), *later]
    opening = [inflight, *_of_caller(store, [slots, limiter])]
    if plugins is not None:
        opening.append(plugins.coverage)
    begin = None if plugins is None else plugins.begin
    further = (opening, each, observers, accounting, inflight, begin)
    return Gateway(
        settings=settings,
        sessions=sessions_of(settings, dispatcher, candidates, *further),
        keys=keys,
        key_guesses=key_guess_limiter(settings, keys, store, others),
        routes=routes,
        candidates=candidates,
        limiter=limiter,
        breakers=tuple(endpoint.breaker for endpoint in endpoints.values()),
        stream_options=tuple(options.values()),
        leases=leases,
        store=store,
        http=http,
        service=RecordingService(
            guarded,
            observers,
            prompts=settings.log_prompts,
            facts=_facts(settings, traces),
            begin=begin,
        ),
        metrics=metrics,
        reactor=REACTOR,
        inflight=inflight,
        body_memory=body_memory,
        upload_space=upload_space,
        catalog=catalog,
        renewed_keys=renewed,
        estimates=estimates,
        draining=DRAINING,
        longest=max(endpoint.clocks.total for endpoint in endpoints.values()),
        built=time.time(),
        extend=extend,
        accounting=accounting,
        issued=issued,
        rings=rings,
        traces=traces,
        cache=cache,
        plugins=plugins,
    )


def _storing(settings: Settings) -> list[str]:
    """The upstreams whose stored responses can be fetched. The mock stores none."""
    return [
        upstream.name
        for upstream in settings.upstreams
        if Operation.RESPONSE in upstream.operations and not upstream.url.startswith("mock:")
    ]


def _of_caller(store: Store, guards: Sequence[Foreseeing]) -> list[Guard]:
    """The guards of a caller's limits: with Redis as one, which takes one round trip."""
    return [TogetherGuard(store, guards)] if isinstance(store, TogetherStore) else list(guards)


def _ahead(
    store: Store, ahead: SlotsAhead | None, candidates: Candidates, cache: Caching | None
) -> list[Foreseeing]:
    """With Redis, the guard that takes a slot of the upstream, but not of a model whose answers are kept."""
    if not isinstance(store, TogetherStore) or ahead is None or not candidates.have_bulkheads:
        return []
    kept = frozenset() if cache is None else frozenset(cache.models)
    foresee = candidates.foresee
    return [AheadGuard(store, ahead, lambda call: None if call.model in kept else foresee(call))]


def _rings(settings: Settings) -> PageRings | None:
    """The rings of the operator's page, if an admin's key is set. Otherwise nothing is imported."""
    if not settings.admins:
        return None
    from ..telemetry.page_rings import open_rings

    return open_rings()


def _traces(settings: Settings, reports: Reports) -> Traces | None:
    """Open the traces, if the environment names a receiver. Otherwise nothing is imported."""
    if settings.traces is None:
        return None
    from .traces import open_traces

    return open_traces(settings, settings.traces, reports)


def _caching(settings: Settings, before: Caching | None, reports: Reports, routes: Routes) -> Caching | None:
    """The cache, if a model of the settings asks for it. Otherwise nothing is imported."""
    if before is None and all(model.cache.mode is CacheMode.OFF for model in settings.models):
        return None
    from .caching import caching_of

    return caching_of(settings, before, reports, routes)


def _plugins(settings: Settings, before: Plugins | None, reports: Reports, routes: Routes) -> Plugins | None:
    """The plugins, if the settings name one. Otherwise nothing is imported."""
    if not settings.plugins:
        return None
    from .plugins import plugins_of

    return plugins_of(settings, before, reports, routes)


def _facts(settings: Settings, traces: Traces | None) -> Facts | None:
    """Bring the traces up to date with the settings. Return what reads their facts."""
    if traces is None:
        return None
    from .traces import facts_of, places_of

    traces.change(places_of(settings), settings.trace_slow_seconds)
    return facts_of(settings)


def _accounting(
    settings: Settings, carried: _CarriedOver, metrics: Metrics, candidates: Candidates
) -> Accounting | None:
    """The ledger and the prices, if the settings name a data directory. Otherwise nothing is imported."""
    if settings.ledger.data is None:
        return None
    from .accounting import accounting_of

    before, made = carried.accounting, (carried.store, carried.estimates, candidates.targets, carried.issued)
    return accounting_of(settings, before, metrics, *made)


def _metrics(settings: Settings, routes: Routes, catalog: Catalog, keys: KeyLabels | None) -> Metrics:
    models = {*routes.listed(), *settings.fallbacks}
    upstreams = [upstream.name for upstream in settings.upstreams]
    return Metrics(families(), models, upstreams, lambda model: model in catalog.names, keys)


def _model_sources(settings: Settings, http: UpstreamClient, renewed: RenewedKeys) -> dict[str, Ask]:
    """For each upstream with ``list_models``: the function that asks it for its models."""
    listing = {upstream.name: upstream for upstream in settings.upstreams if upstream.list_models}
    return {name: lambda name: models_of(listing[name], http, renewed.of(listing[name])) for name in listing}
