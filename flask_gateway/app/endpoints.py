"""Makes the endpoints of a gateway: each upstream, and each configured model at one, behind its guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Protocol

from ..config.schema import (
    Balance,
    CandidateSettings,
    ClientCertificate,
    Proxy,
    Settings,
    Timeouts,
    UpstreamSettings,
)
from ..guards.breaker import Breaker
from ..guards.breaker_state import Phase, Policy
from ..guards.bulkhead import UNLIMITED, UpstreamBulkhead, upstream_key
from ..guards.inflight import InFlightCalls, UpstreamThreadQuota
from ..guards.leases import ConcurrencyLeases
from ..guards.slots_ahead import SlotsAhead
from ..model.call import Operation
from ..model.protocols import Guard
from ..routing.dispatcher import Guarded
from ..routing.routes import Routes
from ..state.store import SECOND, Store
from ..telemetry.metrics import Metrics
from ..upstreams import open_upstream
from ..upstreams.renewed_keys import RenewedKeys
from ..upstreams.stream_options import StreamOptions
from ..upstreams.transport.client import UpstreamClient
from .candidates import Endpoint
from .translated import translated

#: A breaker allows the next probe this long after the timeouts of the first have passed, seconds. A probe
#: that is a long stream continues meanwhile, and its end still counts.
PROBE_GRACE = 2.0


class EndpointParts(Protocol):
    """The parts of a gateway that its endpoints use."""

    @property
    def store(self) -> Store: ...
    @property
    def leases(self) -> ConcurrencyLeases: ...
    @property
    def inflight(self) -> InFlightCalls: ...
    @property
    def http(self) -> UpstreamClient: ...
    @property
    def renewed_keys(self) -> RenewedKeys: ...


def endpoints_of(
    settings: Settings,
    routes: Routes,
    carried: EndpointParts,
    metrics: Metrics,
    options: Mapping[str, StreamOptions],
    ahead: SlotsAhead | None = None,
) -> Iterator[Endpoint]:
    """One endpoint per upstream for any model, and one for each configured model, with its own breaker.

    :param ahead: where the slots are that calls have taken already.
    """
    store, leases, inflight, http = carried.store, carried.leases, carried.inflight, carried.http
    balanced, own = _balanced(settings), _own_settings(settings)
    configured = list(routes.configured())
    for upstream in settings.upstreams:
        clocks = _clocks(upstream, settings)
        counted = upstream.name in balanced
        if counted:
            leases.watch(upstream_key(upstream.name))
        slot = _slot(upstream.name, upstream.max_in_flight, counted, leases, ahead)
        for model in (None, *(target.model for target in configured if target.upstream == upstream.name)):
            override = own.get((upstream.name, model), CandidateSettings(upstream=upstream.name, model=""))
            own_clocks = clocks.with_own(override.clocks)
            key = carried.renewed_keys.of(upstream)
            service = open_upstream(upstream, http, own_clocks, options.get(upstream.name), key)
            breaker = _breaker(upstream, model, store, _policy(own_clocks, settings), metrics)
            pair = f"{upstream.name}/{model}"
            # The breaker comes first: while it is open, a call costs only a read.
            quota = UpstreamThreadQuota(upstream.name, inflight)
            slots = [*slot, *_slot(pair, override.max_in_flight, False, leases, ahead)]
            guards: list[Guard] = [breaker, quota, *slots]
            yield Endpoint(
                upstream=upstream.name,
                model=model,
                service=Guarded(service, guards),
                breaker=breaker,
                clocks=own_clocks,
                limits={upstream.name: upstream.max_in_flight, pair: override.max_in_flight},
                continues=upstream.continues,
                # The order of the table: the first are asked for most, and are found first.
                speaks=tuple(operation for operation in Operation if operation in upstream.operations),
                translated=translated(upstream, service, guards, override.max_output_tokens),
                bulkheads=tuple(slots),
            )


def _clocks(upstream: UpstreamSettings, settings: Settings) -> Timeouts:
    return upstream.clocks or Timeouts.within(
        settings.request_timeout_seconds, settings.answer_timeout_seconds
    )


def _own_settings(settings: Settings) -> dict[tuple[str, str | None], CandidateSettings]:
    """Candidates with their own timeouts or limits, by upstream and model. If two routes differ, the first
    counts."""
    tiers = [tier for model in settings.models for tier in model.tiers]
    own = [candidate for tier in tiers for candidate in tier if _has_own(candidate)]
    return {(candidate.upstream, candidate.model): candidate for candidate in reversed(own)}


def _has_own(candidate: CandidateSettings) -> bool:
    return bool(candidate.clocks or candidate.max_in_flight or candidate.max_output_tokens)


def _balanced(settings: Settings) -> frozenset[str]:
    """The upstreams whose calls in flight are counted even without a limit, for ``least_requests``."""
    routes = [model for model in settings.models if model.balance is Balance.LEAST_REQUESTS]
    return frozenset(candidate.upstream for model in routes for tier in model.tiers for candidate in tier)


def _slot(
    name: str, limit: int, counted: bool, leases: ConcurrencyLeases, ahead: SlotsAhead | None
) -> list[UpstreamBulkhead]:
    limit = limit or (UNLIMITED if counted else 0)
    return [UpstreamBulkhead(name, limit, leases, ahead)] if limit else []


def _breaker(
    upstream: UpstreamSettings, model: str | None, store: Store, policy: Policy, metrics: Metrics
) -> Breaker:
    def count(before: Phase, after: Phase) -> None:
        metrics.breaker_changed(upstream.name, model, before.name.lower(), after.name.lower())

    return Breaker(upstream.name, store, policy, model, count, _fingerprint(upstream, policy))


def _fingerprint(upstream: UpstreamSettings, policy: Policy) -> str:
    """A digest of the settings that a breaker's state belongs to: URL, key, policy, and how it is reached."""
    key: object = upstream.api_key.reveal() if upstream.api_key else upstream.key_command or ""
    way = tuple(part for part in (upstream.client_cert, upstream.proxy) if part is not None)
    text = repr((upstream.url, key, policy)) + "".join(_content(part) for part in way)
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _content(part: ClientCertificate | Proxy) -> str:
    """All of a certificate or a proxy, its secret too."""
    secret = part.pem if isinstance(part, ClientCertificate) else part.credentials
    return f"{part}{secret.reveal() if secret else ''}"


def _policy(clocks: Timeouts, settings: Settings) -> Policy:
    return Policy(
        max_failures=settings.circuit_breaker_max_failures,
        reset=int(settings.circuit_breaker_reset_seconds * SECOND),
        lease=int((max(clocks.first_byte, clocks.first_token) + PROBE_GRACE) * SECOND),
        answer_lease=int((clocks.answer + PROBE_GRACE) * SECOND),
        successes=settings.circuit_breaker_successes,
        slow=int(settings.circuit_breaker_slow_seconds * SECOND),
    )
