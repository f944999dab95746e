"""Counts and measures each finished request (a ``request_record.Observer``).

No text of a caller becomes a label: a name that is neither configured nor defined by the gateway is
``other``. An update is a locked write to shared memory and takes about a microsecond. So each metric is
updated once a request, never once an event, and never by zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise

from ..model.call import Attempt, Usage
from ..model.errors import known_codes
from ..model.money import NANO
from ..model.spend import Leg
from .metric_families import AGES, Families
from .request_record import RequestRecord

#: The most issued keys that a process's metrics show by their ids, and the most teams of further ones.
MOST_ISSUED = 200
#: The label value for names that are neither configured nor defined by the gateway.
OTHER = "other"
#: The units besides tokens, by their names in ``Usage.parts``.
_UNITS = ("seconds", "characters", "images")


class Reports:
    """Updates the metrics that other components report. They know no model and no upstream."""

    def __init__(self, families: Families) -> None:
        self.families = families

    def shed(self, reason: str) -> None:
        """A request was shed. The reason is from a fixed list (docs/observability.md)."""
        self.families.shed(reason).inc()

    def fell_back(self, reason: str) -> None:
        """The fallback store answered, because the store was ``busy``, ``full`` or ``away``."""
        self.families.fallbacks(reason).inc()

    def log_dropped(self, lines: int) -> None:
        """Log lines were dropped, because nothing read them or the disk was full."""
        self.families.log_dropped().inc(lines)

    def cache_lookup(self, model: str, result: str) -> None:
        """A call of a configured model found a kept answer, or not: ``hit``, ``miss`` or ``bypass``."""
        self.families.cache_lookups(model, result).inc()

    def cache_refused(self, reason: str) -> None:
        """A call or an answer was not for the cache. The reason is from a fixed list (docs/cache.md)."""
        self.families.cache_refused(reason).inc()

    def cache_saved(self, model: str, tokens: int, nano: int) -> None:
        """A kept answer took the place of so many tokens, and so many nano-dollars."""
        self.families.cache_saved_tokens(model).inc(tokens)
        self.families.cache_saved_usd(model).inc(nano / NANO)

    def cache_written(self, kept: bool, evicted: int) -> None:
        """The cache has kept an answer, or had no room. So many others had to go."""
        if kept:
            self.families.cache_stored().inc()
        else:
            self.cache_refused("full")
        if evicted:
            self.families.cache_evicted().inc(evicted)

    def plugin_ran(self, plugin: str, hook: str, seconds: float) -> None:
        """A hook of a plugin ran; an inspection once for each answer."""
        self.families.plugin_seconds(plugin, hook).observe(seconds)

    def plugin_slow(self, plugin: str, hook: str) -> None:
        """A hook of a plugin took longer than it may."""
        self.families.plugin_slow(plugin, hook).inc()

    def plugin_failed(self, plugin: str, hook: str) -> None:
        """A hook of a plugin failed."""
        self.families.plugin_errors(plugin, hook).inc()

    def traced(self, result: str, requests: int) -> None:
        """Requests became traces: ``exported``, ``failed``, ``dropped`` or ``not_sampled``."""
        self.families.traces(result).inc(requests)

    def ledger_lost(self, lines: int) -> None:
        """Lines of the ledger could not be kept: the disk refused for too long, or a line was damaged."""
        self.families.ledger_lost().inc(lines)

    def budget_alert(self, kind: str, window: str, share: float) -> None:
        """A subject of that kind has used that share of a budget."""
        self.families.budget_alerts(kind, window, f"{share:g}").inc()

    def budget_overshoot(self, nano: int) -> None:
        """Calls in flight have cost more than their budget had left, nano-dollars."""
        self.families.budget_overshoot().inc(nano / 1e9)

    def alert_posted(self, posted: bool) -> None:
        """An alert was posted to the webhook, or given up."""
        self.families.alerts_posted("posted" if posted else "failed").inc()

    def budget_unverified(self) -> None:
        """An account was opened without the ledger."""
        self.families.budget_unverified().inc()

    def ledger_state(self, degraded: bool, lag: float) -> None:
        """Set whether this worker's ledger cannot be written, and the seconds since it was up to date."""
        self.families.ledger_degraded.set(degraded)
        self.families.ledger_lag.set(lag)

    def threads(self, busy: int, limit: int) -> None:
        """Set the threads of this worker."""
        self.families.threads_busy.set(busy)
        self.families.threads_limit.set(limit)

    def streams(self, active: int) -> None:
        """Set the active streams of this worker."""
        self.families.streams_active.set(active)

    def sessions(self, opened: int) -> None:
        """Set the open WebSocket sessions of this worker."""
        self.families.sessions_open.set(opened)

    def event_loop_lag(self, longest: float) -> None:
        """Observe the longest round of the event loop since the last call, seconds."""
        self.families.event_loop_lag().observe(longest)


class KeyLabels:
    """Names keys in metrics: those of the settings and the first issued ones by their ids, then by the team.

    A process never shows more than ``most`` issued keys and ``most`` teams by name; the others are ``other``.
    It goes on over reloads, and its threads share it.

    :param fixed: the ids of the keys of the settings.
    """

    def __init__(self, fixed: Collection[str], most: int = MOST_ISSUED) -> None:
        self._fixed, self._most = frozenset(fixed), most
        self._issued: set[str] = set()
        self._teams: set[str] = set()

    def of(self, key: str, team: str) -> str:
        """:param team: of the key; empty if it has none."""
        if key in self._fixed or _noted(self._issued, key, self._most):
            return key
        return f"team:{team}" if team and _noted(self._teams, team, self._most) else OTHER

    def change(self, fixed: Iterable[str]) -> KeyLabels:
        """Take over the keys of changed settings."""
        self._fixed = frozenset(fixed)
        return self


def _noted(known: set[str], name: str, most: int) -> bool:
    """Whether a name is among the first ones. Threads may together note a few more."""
    if name in known:
        return True
    if len(known) >= most:
        return False
    known.add(name)
    return True


class Metrics(Reports):
    """Updates the metrics from request records, too.

    :param models: the configured model names.
    :param upstreams: the configured upstream names.
    :param listed: returns whether an upstream lists a model of that name.
    :param keys: names keys; ``None``: each by its id, where there are no issued ones.
    """

    def __init__(
        self,
        families: Families,
        models: Collection[str],
        upstreams: Collection[str],
        listed: Callable[[str], bool] = lambda model: False,
        keys: KeyLabels | None = None,
    ) -> None:
        super().__init__(families)
        self._models = frozenset(models) | {""}
        self._upstreams = frozenset(upstreams) | {""}
        self._listed = listed
        self._codes = known_codes() | {""}
        self._keys = keys
        #: Whether the last reload of the settings succeeded; ``True`` before the first.
        self.last_reload_successful = True
        #: Tells the operator's page what happened.
        self.note: Callable[[str], None] = lambda text: None

    def __call__(self, record: RequestRecord) -> None:
        upstream = self._upstream(record.upstream)
        model = _known_or_other(self._models, record.model)
        if model is OTHER and self._listed(record.model or ""):
            model = record.model or ""
        route, code = record.route or OTHER, _known_or_other(self._codes, record.code)
        self.families.requests(route, model, upstream, str(record.status), code).inc()
        if record.outcome is not None:
            self._call(record, model, upstream, code)

    # ------------------------------------------------------------ reports of other components

    def reloaded(self, result: str) -> None:
        """The settings were reloaded, with ``success`` or ``failure``."""
        self.families.reloads(result).inc()
        self.last_reload_successful = result == "success"

    def in_flight(self, calls: Collection[tuple[str, float]]) -> None:
        """Set this worker's calls in flight.

        :param calls: the upstream of each call, and its age in seconds.
        """
        counts = Counter(self._upstream(upstream) for upstream, _ in calls)
        shown = self.families.in_flight.known()  # may have upstreams that a reload has removed
        for upstream in {*self._upstreams, *counts, *(name for (name,) in shown)} - {""}:
            self.families.in_flight(upstream).set(counts[upstream])
        for age in AGES:
            label = "+Inf" if age == math.inf else str(age)
            self.families.in_flight_by_age(label).set(sum(old <= age for _, old in calls))

    def breaker_changed(self, upstream: str, model: str | None, before: str, after: str) -> None:
        self.families.transitions(upstream, model or "", before, after).inc()
        name = f"upstream '{upstream}'" + (f", model '{model}'" if model else "")
        self.note(
            f"{name}: the circuit breaker was {before.replace('_', ' ')} and is {after.replace('_', ' ')}"
        )

    # ------------------------------------------------------------ calls

    def _call(self, record: RequestRecord, model: str, upstream: str, code: str) -> None:
        families, key = self.families, record.key or ""
        if self._keys is not None:
            key = self._keys.of(key, record.team)
        families.durations(model, upstream, "true" if record.stream else "false").observe(record.seconds)
        if record.overhead is not None:
            families.added_latency().observe(record.overhead)
        if record.stream and record.first_byte is not None:
            # A buffered stream begins when it is complete, or with a ping: not with a token.
            if not record.whole:
                families.first_tokens(model, upstream).observe(record.first_byte)
            families.streams(upstream, code or "complete").inc()
        if record.dropped:
            families.dropped(upstream).inc(record.dropped)
        decision = "refused" if record.limited else "admitted"
        families.limits(key, record.limited or "requests", decision).inc()
        if record.attempts:
            self._attempts(record.attempts)
        if record.usage is not None:
            self._tokens(record, key, model)
        if record.legs:
            self._cost(record.legs, key, model)

    def _attempts(self, attempts: tuple[Attempt, ...]) -> None:
        for attempt in attempts:
            upstream = self._upstream(attempt.upstream)
            self.families.attempts(upstream, self._result(attempt)).inc()
            self.families.attempt_durations(upstream).observe(attempt.seconds)
        for failed, next_one in pairwise(attempts):
            if failed.upstream != next_one.upstream:
                source, target = self._upstream(failed.upstream), self._upstream(next_one.upstream)
                self.families.failovers(source, target, self._result(failed)).inc()

    def _tokens(self, record: RequestRecord, key: str, model: str) -> None:
        usage = record.usage
        assert usage is not None
        for kind, count in (
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
            ("cached", usage.cached_tokens),
        ):
            if count > 0:
                self.families.tokens(key, model, kind, usage.source).inc(count)
        if usage.parts:
            self._units(usage, key, model)

    def _units(self, usage: Usage, key: str, model: str) -> None:
        for unit in _UNITS:
            if (count := usage.parts.get(unit, 0)) > 0:
                self.families.units(key, model, unit, usage.source).inc(count)

    def _cost(self, legs: tuple[Leg, ...], key: str, model: str) -> None:
        for leg in legs:
            if leg.cost is None:
                self.families.unpriced(self._upstream(leg.upstream), model).inc()
            elif leg.cost:
                self.families.cost(key, model, leg.source).inc(leg.cost / NANO)

    def _upstream(self, name: str | None) -> str:
        return _known_or_other(self._upstreams, name)

    def _result(self, attempt: Attempt) -> str:
        """The status of the attempt, or our error code."""
        result = attempt.result
        return result if len(result) == 3 and result.isdecimal() else _known_or_other(self._codes, result)


def _known_or_other(known: frozenset[str], value: str | None) -> str:
    value = value or ""
    return value if value in known else OTHER
