"""Counts and measures each request when it is over (``record.Observer``).

Nothing that a caller makes up becomes a label: what is not configured, or not ours, is ``other``. An
update is a locked write to shared memory, about a microsecond: each is made once a request, never once
an event, and one that would add zero is not made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from itertools import pairwise

from ..model.call import Attempt
from ..model.errors import known_codes
from .metric_families import AGES, Families
from .request_record import RequestRecord

#: What a label says of whatever is not configured, or not ours.
OTHER = "other"


class Metrics:
    """What is counted of requests, and the seam for those who count something else.

    :param models: the configured names. :param upstreams: theirs.
    :param listed: whether an upstream has listed a model of that name.
    """

    def __init__(
        self,
        families: Families,
        models: Collection[str],
        upstreams: Collection[str],
        listed: Callable[[str], bool] = lambda model: False,
    ) -> None:
        self.families = families
        self._models = frozenset(models) | {""}
        self._upstreams = frozenset(upstreams) | {""}
        self._listed = listed
        self._codes = known_codes() | {""}
        #: Whether the last reload of the settings succeeded; ``True`` before the first.
        self.last_reload_successful = True

    def __call__(self, record: RequestRecord) -> None:
        upstream = self._upstream(record.upstream)
        model = _one_of(self._models, record.model)
        if model is OTHER and self._listed(record.model or ""):
            model = record.model or ""
        route, code = record.route or OTHER, _one_of(self._codes, record.code)
        self.families.requests(route, model, upstream, str(record.status), code).inc()
        if record.outcome is not None:
            self._call(record, model, upstream, code)

    # ------------------------------------------------------------ for those who know more than a record

    def shed(self, reason: str) -> None:
        """A request was refused to protect the others. The reason is one of a few of ours."""
        self.families.shed(reason).inc()

    def fell_back(self, reason: str) -> None:
        """Other state answered for the store: it was ``busy``, ``full`` or ``away``."""
        self.families.fallbacks(reason).inc()

    def reloaded(self, result: str) -> None:
        """Settings were read anew: ``success`` or ``failure``."""
        self.families.reloads(result).inc()
        self.last_reload_successful = result == "success"

    def log_dropped(self, lines: int) -> None:
        """Lines of the log were dropped, because nothing read it."""
        self.families.log_dropped().inc(lines)

    def threads(self, busy: int, limit: int) -> None:
        """Of this worker, now."""
        self.families.threads_busy.set(busy)
        self.families.threads_limit.set(limit)

    def streams(self, active: int) -> None:
        """Of this worker, now."""
        self.families.streams_active.set(active)

    def event_loop_lag(self, longest: float) -> None:
        """Of the thread that carries streams, since the last time. Seconds."""
        self.families.event_loop_lag().observe(longest)

    def in_flight(self, calls: Collection[tuple[str, float]]) -> None:
        """Of this worker, now: of each call its upstream and its age in seconds."""
        asked = Counter(self._upstream(upstream) for upstream, _ in calls)
        shown = self.families.in_flight.known()  # such among them as settings do not name any more
        for upstream in {*self._upstreams, *asked, *(name for (name,) in shown)} - {""}:
            self.families.in_flight(upstream).set(asked[upstream])
        for age in AGES:
            label = "+Inf" if age == math.inf else str(age)
            self.families.in_flight_by_age(label).set(sum(old <= age for _, old in calls))

    def breaker_changed(self, upstream: str, model: str | None, before: str, after: str) -> None:
        self.families.transitions(upstream, model or "", before, after).inc()

    # ------------------------------------------------------------ of a call

    def _call(self, record: RequestRecord, model: str, upstream: str, code: str) -> None:
        families, key = self.families, record.key or ""
        families.durations(model, upstream, "true" if record.stream else "false").observe(record.seconds)
        if record.overhead is not None:
            families.added_latency().observe(record.overhead)
        if record.stream and record.first_byte is not None:
            # A stream that was held back began when it was over, or with a mere sign of life.
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

    def _attempts(self, attempts: tuple[Attempt, ...]) -> None:
        for attempt in attempts:
            self.families.attempts(self._upstream(attempt.upstream), self._said(attempt)).inc()
        for failed, next_one in pairwise(attempts):
            if failed.upstream != next_one.upstream:
                there, here = self._upstream(next_one.upstream), self._upstream(failed.upstream)
                self.families.failovers(here, there, self._said(failed)).inc()

    def _tokens(self, record: RequestRecord, key: str, model: str) -> None:
        usage = record.usage
        assert usage is not None
        for kind, count in (
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
            ("cached", usage.cached_tokens),
        ):
            if count > 0:
                self.families.tokens(key, model, kind).inc(count)

    def _upstream(self, name: str | None) -> str:
        return _one_of(self._upstreams, name)

    def _said(self, attempt: Attempt) -> str:
        """A status, or our code."""
        said = attempt.result
        return said if len(said) == 3 and said.isdecimal() else _one_of(self._codes, said)


def _one_of(known: frozenset[str], value: str | None) -> str:
    value = value or ""
    return value if value in known else OTHER
