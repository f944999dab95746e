"""The transitions of a circuit breaker: the pure functions ``admit`` and ``settle``.

Nothing here knows what is protected, or where the state is kept (``breaker.py``).

CLOSED    every call goes through. So many failures in a row open the circuit; so do, among the calls that
          ended within a **window**, a half that failed, or four fifths that were slow.
OPEN      no call goes through, until the reset time has passed; the next one is then the probe.
HALF_OPEN one probe is under way, and no other call goes through. It holds a lease that ends by itself,
          so a worker that dies with it blocks nobody. So many successes in a row close; a failure opens
          again, for twice as long as before; and an end that says nothing gives the lease back.

Each change of phase increments the **generation**. A call's end counts only in the generation that
admitted it: a slow failure from before the trip cannot re-open a circuit that has healed since.

The window begins with the first failure or slow call, and is over ten seconds later. As long as there is
none, a call that ends well changes nothing, so that the calls of a healthy upstream write nothing.

Two notes stand beside the phase. The **cool-down**: an upstream that answers 429 is well, and wants a pause.
The **denial**: it is well, and does not take our credential; it may be asked, but others come first.
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
#: No cool-down is set further ahead than this, jitter included, microseconds.
_LONGEST_COOL_DOWN = int(MAX_COOL_DOWN * SECOND * 1.2)
#: How long others come before an upstream that has refused our credential, seconds.
DENIAL = 60.0

#: The window, microseconds, and how many calls must have ended in it before it says anything. Who allows
#: more failures in a row than that is not overruled by fewer calls.
WINDOW, ENOUGH = 10 * SECOND, 20
#: The longest that a circuit opens again for, microseconds, unless the reset time itself is longer.
LONGEST = 60 * SECOND
#: By so much a repeated opening may be longer or shorter, lest all machines probe at once.
JITTER = 0.2


class Phase(IntEnum):
    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class State(NamedTuple):
    """The whole state, as a store keeps it. Times in microseconds of the store's clock.

    :param failures: in a row, the last being the last call that said anything.
    :param until: OPEN: when a probe may go. HALF_OPEN: when the probe's lease ends.
    :param cool_until: when the pause that a 429 asked for is over.
    :param denied_until: until when others come first, because our credential was refused.
    :param reopened: probes that have failed since the circuit was last closed.
    :param successes: probes that have ended well, in a row.
    :param window_until: when the window is over; the next three are counted in it.
    """

    phase: int = Phase.CLOSED
    failures: int = 0
    generation: int = 0
    until: int = 0
    cool_until: int = 0
    denied_until: int = 0
    reopened: int = 0
    successes: int = 0
    window_until: int = 0
    calls: int = 0
    failed: int = 0
    slow: int = 0


class Policy(msgspec.Struct, frozen=True):
    """When to open, and for how long.

    :param max_failures: failures in a row that open the circuit.
    :param reset: microseconds from opening to the probe.
    :param lease: microseconds after which a probe that has not ended no longer blocks the next.
    :param successes: probes that have to end well, in a row, to close the circuit.
    :param slow: microseconds until an answer shows itself good beyond which it is slow; 0: none is.
    """

    max_failures: int
    reset: int
    lease: int
    successes: int = 1
    slow: int = 0

    def opening(self, reopened: int) -> int:
        """How long the circuit is open after so many probes have failed, microseconds, before jitter."""
        return min(self.reset << min(reopened, 30), max(self.reset, LONGEST))


class Ticket(NamedTuple):
    """What an admitted call has to show at its end. ``lease`` is 0 for all but a probe."""

    generation: int
    lease: int = 0


class Refusal(NamedTuple):
    """Why a call may not go through, and for how many microseconds more."""

    cooling: bool
    wait: int


class End(NamedTuple):
    """How a call has ended.

    :param pause: for ``THROTTLED``: the one asked for, microseconds.
    :param slow: whether it took too long to show itself good.
    :param jitter: what a repeated opening is multiplied by, should this lead to one.
    """

    verdict: Verdict
    pause: int = 0
    slow: bool = False
    jitter: float = 1.0


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
        # The next of several probes, or the last one's lease is over. That one may still end well, so
        # its generation stays.
        return state._replace(until=lease), Ticket(state.generation, lease)
    generation = state.generation + 1
    probing = state._replace(phase=Phase.HALF_OPEN, generation=generation, until=lease)
    return probing, Ticket(generation, lease)


def settle(state: State, now: int, policy: Policy, ticket: Ticket, end: End) -> State:
    """The state after a call has ended."""
    if state.generation != ticket.generation:
        return state
    state = _noted(state, now, end)
    if state.phase == Phase.HALF_OPEN:
        return _settle_probe(state, now, policy, ticket, end)
    if end.verdict not in (Verdict.SUCCESS, Verdict.FAILURE):
        return state
    state = _counted(state, now, end)
    if end.verdict is Verdict.SUCCESS and state.failures:
        state = state._replace(failures=0)
    return _opened(state, now, policy) if _too_many(state, policy) else state


def denied(state: State, now: int) -> bool:
    """Whether others are to be asked before it. What is much too far ahead stands by a clock set back."""
    return now < state.denied_until < now + int(2 * DENIAL * SECOND)


def _noted(state: State, now: int, end: End) -> State:
    """What a call's end says beside the phase."""
    if end.verdict is Verdict.SUCCESS:
        return state._replace(denied_until=0) if denied(state, now) else state
    if end.verdict is Verdict.THROTTLED:
        return state._replace(cool_until=max(state.cool_until, now + end.pause))
    # What is denied again and again gets its turn, and a line in the log, once in so long all the same.
    if end.verdict is Verdict.DENIED and not denied(state, now):
        return state._replace(denied_until=now + int(DENIAL * SECOND))
    return state


def _counted(state: State, now: int, end: End) -> State:
    failed = end.verdict is Verdict.FAILURE
    if not now < state.window_until <= now + WINDOW:
        if not (failed or end.slow):
            return state
        state = state._replace(window_until=now + WINDOW, calls=0, failed=0, slow=0)
    return state._replace(
        failures=state.failures + failed,
        calls=state.calls + 1,
        failed=state.failed + failed,
        slow=state.slow + end.slow,
    )


def _too_many(state: State, policy: Policy) -> bool:
    if state.failures >= policy.max_failures:
        return True
    enough = state.calls >= max(ENOUGH, policy.max_failures)
    return enough and (2 * state.failed >= state.calls or 5 * state.slow >= 4 * state.calls)


def _settle_probe(state: State, now: int, policy: Policy, ticket: Ticket, end: End) -> State:
    if end.verdict is Verdict.FAILURE or end.slow:
        again = state._replace(failures=state.failures + (end.verdict is Verdict.FAILURE))
        return _opened(again._replace(reopened=state.reopened + 1), now, policy, end.jitter)
    if end.verdict is not Verdict.IGNORED:
        state = state._replace(successes=state.successes + 1)
        if state.successes >= policy.successes:
            return _changed(state, Phase.CLOSED, 0)._replace(failures=0, reopened=0)
    # Only one's own lease is given back: a later probe may hold it by now.
    return state._replace(until=now) if state.until == ticket.lease else state


def _opened(state: State, now: int, policy: Policy, jitter: float = 1.0) -> State:
    # The first opening is as long as the operator has set it, to the microsecond.
    return _changed(state, Phase.OPEN, now + int(policy.opening(state.reopened) * jitter))


def _changed(state: State, phase: Phase, until: int) -> State:
    """In the next generation, nothing counted but what outlives a phase."""
    kept = state._replace(phase=phase, generation=state.generation + 1, until=until)
    return kept._replace(successes=0, window_until=0, calls=0, failed=0, slow=0)


def believable(state: State, now: int, policy: Policy) -> State:
    """A time further ahead than it can have been set to means that the clock was set back, or that a
    reload shortened it. It then begins anew, rather than hold for as long as the clock was set back."""
    if state.phase != Phase.CLOSED:
        anew = policy.lease if state.phase == Phase.HALF_OPEN else policy.opening(state.reopened)
        longest = anew if state.phase == Phase.HALF_OPEN or not state.reopened else int(anew * (1 + JITTER))
        if state.until > now + longest:
            state = state._replace(until=now + anew)
    if state.cool_until > now + _LONGEST_COOL_DOWN:
        state = state._replace(cool_until=now + int(DEFAULT_COOL_DOWN * SECOND))
    return state
