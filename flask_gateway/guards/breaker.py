"""The circuit breaker: stops asking an upstream that keeps failing, and finds out when it is back.

What it decides is in ``circuit.py``; here it is kept in a store, asked, and told.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping

import msgspec

from ..core import SECOND, Answer, Call, Change, Outcome, Store, Value, state_key
from ..errors import CircuitOpen, UpstreamCooling, Verdict
from .circuit import (
    DEFAULT_COOL_DOWN,
    DENIAL,
    JITTER,
    MAX_COOL_DOWN,
    End,
    Phase,
    Policy,
    Refusal,
    State,
    Ticket,
    admit,
    believable,
    denied,
    settle,
)

log = logging.getLogger(__name__)

#: Nothing is remembered of an upstream that nobody has called for so long, seconds.
FORGET_AFTER = 3600.0

#: What is true of nearly every call, made once: nothing is known of its upstream, and it ends well.
FRESH, WELL = State(), End(Verdict.SUCCESS)


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person wants to know of a breaker. ``retry_after``: seconds, ``None`` when it may be tried.

    :param model: the one model of the upstream that it is about, if it is not about all of it.
    :param credential_refused: others are asked first, because it did not take our credential of late.
    """

    upstream: str
    state: str
    failures: int
    retry_after: float | None
    model: str | None = None
    cooling: bool = False
    credential_refused: bool = False


class Breaker:
    """The breaker of an upstream (``core.Guard``). Shared by all threads; the store guards it.

    :param model: watch only this one of its models, so that a sick model closes no healthy host.
    :param on_change: told of each change of phase, with the old and the new one, by whose call made it.
    """

    def __init__(
        self,
        upstream: str,
        store: Store,
        policy: Policy,
        model: str | None = None,
        on_change: Callable[[Phase, Phase], None] = lambda before, after: None,
    ) -> None:
        self.upstream = upstream
        self.model = model
        self._store = store
        self._policy = policy
        self._on_change = on_change
        self._key = state_key("breaker", upstream if model is None else f"{upstream}/{model}")
        self._ttl = policy.opening(0) / SECOND + FORGET_AFTER

    def admit(self, call: Call) -> BreakerPermit:
        """:raises CircuitOpen: it has failed too often. :raises UpstreamCooling: it wants a pause."""
        seen = self._state(self._store.read(self._key))
        after, answer = admit(seen, self._store.now(), self._policy)
        if after is not seen:
            answer = self._update(self._admit)
        if isinstance(answer, Ticket):
            return BreakerPermit(self, answer)
        wait = answer.wait / SECOND
        if answer.cooling:
            raise UpstreamCooling(
                f"Upstream '{self.upstream}' has asked for a pause (429). Try again in {wait:.0f} s.",
                retry_after=wait,
                upstream=self.upstream,
            )
        raise CircuitOpen(
            f"Upstream '{self.upstream}' has failed too often and is not asked for now. "
            f"It will be tried again in {wait:.0f} s.",
            retry_after=wait,
            upstream=self.upstream,
        )

    def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        end = self._end(outcome)
        # Mostly there is nothing to write, and a read tells that for less than an update does.
        seen = self._store.read(self._key)
        if seen is None and end is WELL:
            return  # nothing is held against it, and this adds nothing

        def change(value: Value | None, now: int) -> tuple[Value | None, bool]:
            state = self._state(value)
            after = settle(state, now, self._policy, ticket, end)
            return (value if after is state else after), after.denied_until > state.denied_until

        anything = change(seen, self._store.now())[0] is not seen
        if anything and self._update(change):
            self._warn(outcome)

    def _update(self, change: Change[Answer]) -> Answer:
        """Change the state, and tell of it if that changed the phase."""
        phases = (Phase.CLOSED, Phase.CLOSED)

        def watched(value: Value | None, now: int) -> tuple[Value | None, Answer]:
            nonlocal phases
            after, answer = change(value, now)
            phases = (Phase(self._state(value).phase), Phase(self._state(after).phase))
            return after, answer

        answer = self._store.update(self._key, watched, self._ttl)
        if phases[0] is not phases[1]:
            self._on_change(*phases)
        return answer

    @property
    def denied(self) -> bool:
        """Whether it has refused our credential of late, so that others should be asked before it."""
        return denied(self._state(self._store.read(self._key)), self._store.now())

    def status(self) -> Status:
        now = self._store.now()
        state = believable(self._state(self._store.read(self._key)), now, self._policy)
        open_until = state.until if state.phase != Phase.CLOSED else 0
        wait = max(open_until, state.cool_until) - now
        return Status(
            upstream=self.upstream,
            state=Phase(state.phase).name,
            failures=state.failures,
            retry_after=round(wait / SECOND, 3) if wait > 0 else None,
            model=self.model,
            cooling=now < state.cool_until,
            credential_refused=denied(state, now),
        )

    def _admit(self, value: Value | None, now: int) -> tuple[Value | None, Ticket | Refusal]:
        state = self._state(value)
        after, answer = admit(state, now, self._policy)
        return (value if after is state else after), answer

    def _end(self, outcome: Outcome) -> End:
        limit = self._policy.slow
        slow = limit > 0 and outcome.first is not None and outcome.first * SECOND > limit
        if outcome.verdict is Verdict.SUCCESS and not slow:
            return WELL
        pause = _pause(outcome) if outcome.verdict is Verdict.THROTTLED else 0
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
        return End(outcome.verdict, pause, slow, jitter)

    def _warn(self, outcome: Outcome) -> None:
        log.warning(
            "upstream '%s' does not serve the gateway's credential (status %s): for %.0f s it is asked last",
            self.upstream,
            getattr(outcome.error, "answered", None),
            DENIAL,
        )

    @staticmethod
    def _state(value: Value | None) -> State:
        # A layout that is not ours, from before an upgrade, is as good as nothing.
        return State(*value) if value and len(value) == len(State._fields) else FRESH


def _pause(outcome: Outcome) -> int:
    """How long to leave a throttled upstream alone, with jitter lest all come back at once."""
    asked = outcome.error.retry_after if outcome.error else None
    seconds = min(DEFAULT_COOL_DOWN if asked is None else asked, MAX_COOL_DOWN)
    return int(seconds * SECOND * random.uniform(1.0, 1.1))  # noqa: S311 - spreads load, guards nothing


class BreakerPermit:
    """A call that was let through. Settling it twice does nothing."""

    headers: Mapping[str, str] = {}

    def __init__(self, breaker: Breaker, ticket: Ticket) -> None:
        self._breaker = breaker
        self._ticket: Ticket | None = ticket

    def settle(self, outcome: Outcome) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._breaker.settle(ticket, outcome)
