"""The circuit breaker: stops asking an upstream that keeps failing, and finds out when it is back.

Rule 1: every transition is in the pure functions ``admit`` and ``settle``.
Rule 2: nothing here knows what is protected, or where the state is kept.

CLOSED    every call goes through; so many failures in a row open the circuit.
OPEN      no call goes through, until the reset time has passed; the next one is then the probe.
HALF_OPEN one probe is under way, and no other call goes through. It holds a lease that ends by itself,
          so a worker that dies with it blocks nobody. Success closes, failure opens again, and an end
          that says nothing gives the lease back.

Each change of phase increments the **generation**. A call's end counts only in the generation that
admitted it: a slow failure from before the trip cannot re-open a circuit that has healed since.

Beside the phase stands the **cool-down**: an upstream that answers 429 is well, and wants a pause.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

from ..core import SECOND, Answer, Call, Change, Outcome, Store, Value, state_key
from ..errors import CircuitOpen, UpstreamCooling, Verdict

#: A 429 without a word about when to come back cools down for this long, seconds ...
DEFAULT_COOL_DOWN = 5.0
#: ... and one with such a word for at most this long.
MAX_COOL_DOWN = 60.0
#: Nothing is remembered of an upstream that nobody has called for so long, seconds.
FORGET_AFTER = 3600.0


class Phase(IntEnum):
    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class State(NamedTuple):
    """The whole state, as a store keeps it. Times in microseconds of the store's clock.

    :param until: OPEN: when a probe may go. HALF_OPEN: when the probe's lease ends.
    :param cool_until: when the pause that a 429 asked for is over.
    """

    phase: int = Phase.CLOSED
    failures: int = 0
    generation: int = 0
    until: int = 0
    cool_until: int = 0


class Policy(msgspec.Struct, frozen=True):
    """When to open, and for how long.

    :param max_failures: failures in a row that open the circuit.
    :param reset: microseconds from opening to the probe.
    :param lease: microseconds after which a probe that has not ended no longer blocks the next.
    """

    max_failures: int
    reset: int
    lease: int


class Ticket(NamedTuple):
    """What an admitted call has to show at its end. ``lease`` is 0 for all but a probe."""

    generation: int
    lease: int = 0


class Refusal(NamedTuple):
    """Why a call may not go through, and for how many microseconds more."""

    cooling: bool
    wait: int


def admit(state: State, now: int, policy: Policy) -> tuple[State, Ticket | Refusal]:
    """May a call go through? The state is returned unchanged unless this call becomes the probe."""
    state = _believable(state, now, policy)
    if now < state.cool_until:
        return state, Refusal(True, state.cool_until - now)
    if state.phase == Phase.CLOSED:
        return state, Ticket(state.generation)
    if now < state.until:
        return state, Refusal(False, state.until - now)
    lease = now + policy.lease
    if state.phase == Phase.HALF_OPEN:
        # The last probe's lease is over. It may still end well, so its generation stays.
        return state._replace(until=lease), Ticket(state.generation, lease)
    generation = state.generation + 1
    probing = state._replace(phase=Phase.HALF_OPEN, generation=generation, until=lease)
    return probing, Ticket(generation, lease)


def settle(state: State, now: int, policy: Policy, ticket: Ticket, ended: tuple[Verdict, int]) -> State:
    """The state after a call has ended.

    :param ended: the verdict, and for ``THROTTLED`` the pause asked for, microseconds.
    """
    verdict, pause = ended
    if state.generation != ticket.generation:
        return state
    if verdict is Verdict.THROTTLED:
        state = state._replace(cool_until=max(state.cool_until, now + pause))
    if state.phase == Phase.HALF_OPEN:
        return _settle_probe(state, now, policy, ticket, verdict)
    if verdict is Verdict.SUCCESS and state.failures:
        return state._replace(failures=0)
    if verdict is Verdict.FAILURE:
        failures = state.failures + 1
        if failures >= policy.max_failures:
            return _opened(state, now, policy, failures)
        return state._replace(failures=failures)
    return state


def _settle_probe(state: State, now: int, policy: Policy, ticket: Ticket, verdict: Verdict) -> State:
    if verdict is Verdict.FAILURE:
        return _opened(state, now, policy, state.failures + 1)
    if verdict is Verdict.IGNORED:
        # Only one's own lease is given back: a later probe may hold it by now.
        return state._replace(until=now) if state.until == ticket.lease else state
    return state._replace(phase=Phase.CLOSED, failures=0, generation=state.generation + 1, until=0)


def _opened(state: State, now: int, policy: Policy, failures: int) -> State:
    return state._replace(
        phase=Phase.OPEN, failures=failures, generation=state.generation + 1, until=now + policy.reset
    )


def _believable(state: State, now: int, policy: Policy) -> State:
    """A time further ahead than it can have been set to means that the clock was set back, or that a
    reload shortened it. It then begins anew, rather than hold for as long as the clock was set back."""
    longest = policy.lease if state.phase == Phase.HALF_OPEN else policy.reset
    if state.phase != Phase.CLOSED and state.until > now + longest:
        state = state._replace(until=now + longest)
    if state.cool_until > now + int(MAX_COOL_DOWN * SECOND * 1.2):
        state = state._replace(cool_until=now + int(DEFAULT_COOL_DOWN * SECOND))
    return state


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person wants to know of a breaker. ``retry_after``: seconds, ``None`` when it may be tried.

    :param model: the one model of the upstream that it is about, if it is not about all of it.
    """

    upstream: str
    state: str
    failures: int
    retry_after: float | None
    model: str | None = None
    cooling: bool = False


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
        self._ttl = policy.reset / SECOND + FORGET_AFTER

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
        ended = (outcome.verdict, _pause(outcome))

        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            state = self._state(value)
            after = settle(state, now, self._policy, ticket, ended)
            return (value if after is state else after), None

        # Mostly there is nothing to write, and a read tells that for less than an update does.
        seen = self._store.read(self._key)
        if change(seen, self._store.now())[0] is not seen:
            self._update(change)

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

    def status(self) -> Status:
        now = self._store.now()
        state = _believable(self._state(self._store.read(self._key)), now, self._policy)
        open_until = state.until if state.phase != Phase.CLOSED else 0
        wait = max(open_until, state.cool_until) - now
        return Status(
            upstream=self.upstream,
            state=Phase(state.phase).name,
            failures=state.failures,
            retry_after=round(wait / SECOND, 3) if wait > 0 else None,
            model=self.model,
            cooling=now < state.cool_until,
        )

    def _admit(self, value: Value | None, now: int) -> tuple[Value | None, Ticket | Refusal]:
        state = self._state(value)
        after, answer = admit(state, now, self._policy)
        return (value if after is state else after), answer

    @staticmethod
    def _state(value: Value | None) -> State:
        # A layout that is not ours, from before an upgrade, is as good as nothing.
        return State(*value) if value and len(value) == len(State._fields) else State()


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
