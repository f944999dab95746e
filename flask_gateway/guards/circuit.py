"""The transitions of a circuit breaker: the pure functions ``admit`` and ``settle``.

Nothing here knows what is protected, or where the state is kept (``breaker.py``).

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

from enum import IntEnum
from typing import NamedTuple

import msgspec

from ..core import SECOND
from ..errors import Verdict

#: A 429 without a word about when to come back cools down for this long, seconds ...
DEFAULT_COOL_DOWN = 5.0
#: ... and one with such a word for at most this long.
MAX_COOL_DOWN = 60.0


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
    state = believable(state, now, policy)
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


def believable(state: State, now: int, policy: Policy) -> State:
    """A time further ahead than it can have been set to means that the clock was set back, or that a
    reload shortened it. It then begins anew, rather than hold for as long as the clock was set back."""
    longest = policy.lease if state.phase == Phase.HALF_OPEN else policy.reset
    if state.phase != Phase.CLOSED and state.until > now + longest:
        state = state._replace(until=now + longest)
    if state.cool_until > now + int(MAX_COOL_DOWN * SECOND * 1.2):
        state = state._replace(cool_until=now + int(DEFAULT_COOL_DOWN * SECOND))
    return state
