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

The failures of one caller alone open the circuit for that caller **only**: a prompt that makes the
upstream fail says nothing about the prompts of others.

- If more than three quarters of the failures that open the circuit are one caller's, it opens for that one.
  All others pass as in CLOSED, and their failures are counted apart. When these open it, it opens for all.
- Until one of the others has had a success, two failures of theirs in a row are enough: the upstream is
  probably down.
- A probe that failed speaks for its caller. While the circuit is open for all, another caller may probe at
  once. When the probes of two callers have failed, all wait.

The majority is found by Boyer and Moore's vote: two integers are enough, however many callers there are.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from ..model.errors import Verdict
from ..state.store import SECOND

#: A 429 without a word about when to come back cools down for this long, seconds ...
DEFAULT_COOL_DOWN = 5.0
#: ... and one with such a word for at most this long.
MAX_COOL_DOWN = 60.0
#: No cool-down is set further ahead than this, jitter included, microseconds.
LONGEST_COOL_DOWN = int(MAX_COOL_DOWN * SECOND * 1.2)
#: How long others come before an upstream that has refused our credential, seconds.
CREDENTIAL_HOLD = 60.0

#: The window, microseconds, and how many calls must have ended in it before it says anything. Who allows
#: more failures in a row than that is not overruled by fewer calls.
WINDOW, MIN_CALLS = 10 * SECOND, 20
#: So many failures of the others in a row open a circuit that is open for one caller, if none of them has had
#: a success meanwhile.
UNPROVEN = 2
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
    :param suspect: the caller who leads the vote over the failures in a row, and :param weight: by how many.
    :param window_suspect: and :param window_weight: likewise, over the failed and slow calls of the window.
    :param bad: how many these are.
    :param only: the caller for whom alone the circuit is open; 0: for all.
    :param others: failures in a row of all other callers, while it is open for one alone.
    :param others_well: 1 once one of them has had a success meanwhile.
    :param probed: the caller whose probe was the last to fail, while nobody else's has failed too; 0: none.
    :param prober: the caller whose probe holds the lease, and :param others_until: when others may join it.
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
    suspect: int = 0
    weight: int = 0
    window_suspect: int = 0
    window_weight: int = 0
    bad: int = 0
    only: int = 0
    others: int = 0
    others_well: int = 0
    probed: int = 0
    prober: int = 0
    others_until: int = 0


class Policy(msgspec.Struct, frozen=True):
    """When to open, and for how long.

    :param max_failures: failures in a row that open the circuit.
    :param reset: microseconds from opening to the probe.
    :param lease: microseconds after which a probe that has not ended no longer blocks the next.
    :param answer_lease: the same for a probe whose answer comes in one piece; 0: as long as ``lease``.
    :param successes: probes that have to end well, in a row, to close the circuit.
    :param slow: microseconds until an answer shows itself good beyond which it is slow; 0: none is.
    """

    max_failures: int
    reset: int
    lease: int
    successes: int = 1
    slow: int = 0
    answer_lease: int = 0

    def opening(self, reopened: int) -> int:
        """How long the circuit is open after so many probes have failed, microseconds, before jitter."""
        return min(self.reset << min(reopened, 30), max(self.reset, LONGEST))


class Ticket(NamedTuple):
    """What an admitted call has to show at its end. ``lease`` is 0 for all but a probe."""

    generation: int
    lease: int = 0
    caller: int = 0


class Refusal(NamedTuple):
    """Why a call may not go through, and for how many microseconds more.

    :param alone: the circuit is open for this caller alone.
    """

    cooling: bool
    wait: int
    alone: bool = False


class CallResult(NamedTuple):
    """How a call has ended.

    :param pause: for ``THROTTLED``: the one asked for, microseconds.
    :param slow: whether it took too long to show itself good.
    :param jitter: what a repeated opening is multiplied by, should this lead to one.
    """

    verdict: Verdict
    pause: int = 0
    slow: bool = False
    jitter: float = 1.0


def admit(
    state: State, now: int, policy: Policy, caller: int = 0, *, stream: bool = True
) -> tuple[State, Ticket | Refusal]:
    """May a call go through? The state is returned unchanged unless this call becomes the probe."""
    state = clamp_to_clock(state, now, policy)
    if now < state.cool_until:
        return state, Refusal(True, state.cool_until - now)
    if state.phase == Phase.CLOSED or _apart(state, caller):
        return state, Ticket(state.generation, 0, caller)
    if now < state.until and not _may_probe_too(state, now, policy, caller):
        return state, Refusal(False, state.until - now, bool(state.only))
    state = state._replace(prober=caller, others_until=now + policy.lease)
    lease = now + (policy.lease if stream else policy.answer_lease or policy.lease)
    if state.phase == Phase.HALF_OPEN:
        # The next of several probes, or the last one's lease is over. That one may still end well, so
        # its generation stays.
        return state._replace(until=lease), Ticket(state.generation, lease, caller)
    generation = state.generation + 1
    probing = state._replace(phase=Phase.HALF_OPEN, generation=generation, until=lease)
    return probing, Ticket(generation, lease, caller)


def _apart(state: State, caller: int) -> bool:
    """Whether the circuit is open for somebody else alone."""
    return state.only != 0 and caller != state.only


def _may_probe_too(state: State, now: int, policy: Policy, caller: int) -> bool:
    """Whether the circuit waits for, or because of, the probe of one other caller.

    An answer in one piece may take minutes. The caller of such a probe has no other; all others do not wait
    for it longer than for a stream.
    """
    if state.phase == Phase.OPEN:
        return state.probed not in (0, caller)
    return state.prober not in (0, caller) and not now < state.others_until <= now + policy.lease


def settle(
    state: State, now: int, policy: Policy, ticket: Ticket, end: CallResult, *, pauses: bool = True
) -> State:
    """The state after a call has ended.

    :param pauses: whether a 429 pauses all that the circuit is about.
    """
    if state.generation != ticket.generation:
        return state
    if pauses or end.verdict is not Verdict.THROTTLED:
        state = _noted(state, now, end)
    apart = _apart(state, ticket.caller)
    if state.phase == Phase.HALF_OPEN and not apart:
        return _settle_probe(state, now, policy, ticket, end)
    if end.verdict not in (Verdict.SUCCESS, Verdict.FAILURE):
        return state
    state = _windowed(state, now, end, ticket.caller)
    state = _in_a_row_of_others(state, end) if apart else _in_a_row(state, end, ticket.caller)
    if not _too_many(state, policy, apart=apart):
        return state
    if apart:
        # The others have failed as well: it begins again, for all.
        return _opened(_for_all(state)._replace(failures=state.others, reopened=0), now, policy)
    return _opened_by(state, now, policy)


def try_now(state: State, now: int) -> State:
    """End all waiting: the next call is the probe, pauses are over, the credential is believed."""
    waiting = state.phase == Phase.OPEN and now < state.until
    return state._replace(until=now if waiting else state.until, cool_until=0, denied_until=0)


def denied(state: State, now: int) -> bool:
    """Whether others are to be asked before it. What is much too far ahead stands by a clock set back."""
    return now < state.denied_until < now + int(2 * CREDENTIAL_HOLD * SECOND)


def _noted(state: State, now: int, end: CallResult) -> State:
    """What a call's end says beside the phase."""
    if end.verdict is Verdict.SUCCESS:
        return state._replace(denied_until=0) if denied(state, now) else state
    if end.verdict is Verdict.THROTTLED:
        return state._replace(cool_until=max(state.cool_until, now + end.pause))
    # What is denied again and again gets its turn, and a line in the log, once in so long all the same.
    if end.verdict is Verdict.CREDENTIAL_REFUSED and not denied(state, now):
        return state._replace(denied_until=now + int(CREDENTIAL_HOLD * SECOND))
    return state


def _windowed(state: State, now: int, end: CallResult, caller: int) -> State:
    """Count a call in the window. A bad one begins it."""
    failed, slow = end.verdict is Verdict.FAILURE, _is_slow(end)
    if not now < state.window_until <= now + WINDOW:
        if not (failed or slow):
            return state
        state = _without_window(state)._replace(window_until=now + WINDOW)
    if failed or slow:
        suspect, weight = _voted(state.window_suspect, state.window_weight, caller)
        state = state._replace(bad=state.bad + 1, window_suspect=suspect, window_weight=weight)
    return state._replace(calls=state.calls + 1, failed=state.failed + failed, slow=state.slow + slow)


def _in_a_row(state: State, end: CallResult, caller: int) -> State:
    if end.verdict is Verdict.FAILURE:
        suspect, weight = _voted(state.suspect, state.weight, caller)
        return state._replace(failures=state.failures + 1, suspect=suspect, weight=weight)
    return state._replace(failures=0, weight=0) if state.failures else state


def _in_a_row_of_others(state: State, end: CallResult) -> State:
    if end.verdict is Verdict.FAILURE:
        return state._replace(others=state.others + 1)
    return state._replace(others=0, others_well=1) if state.others or not state.others_well else state


def _voted(suspect: int, weight: int, caller: int) -> tuple[int, int]:
    """One more vote of Boyer and Moore's: who leads now, and by how many."""
    if not weight:
        return caller, 1
    return suspect, weight + (1 if caller == suspect else -1)


def _is_slow(end: CallResult) -> bool:
    """Whether the call counts as slow. That of a caller who left counts as nothing."""
    return end.slow and end.verdict in (Verdict.SUCCESS, Verdict.FAILURE)


def _too_many(state: State, policy: Policy, *, apart: bool) -> bool:
    failures, most = state.failures, policy.max_failures
    if apart:
        failures, most = state.others, most if state.others_well else min(most, UNPROVEN)
    if failures >= most:
        return True
    enough = state.calls >= max(MIN_CALLS, policy.max_failures)
    return enough and (2 * state.failed >= state.calls or 5 * state.slow >= 4 * state.calls)


def _opened_by(state: State, now: int, policy: Policy) -> State:
    """Open the circuit for one caller alone if nearly all that opens it is that caller's."""
    if state.failures >= policy.max_failures:
        alone = state.suspect if 2 * state.weight > state.failures else 0
    else:
        alone = state.window_suspect if 2 * state.window_weight > state.bad else 0
    return _opened(_for_all(state)._replace(only=alone), now, policy)


def _for_all(state: State) -> State:
    return state._replace(only=0, others=0, others_well=0)


def _settle_probe(state: State, now: int, policy: Policy, ticket: Ticket, end: CallResult) -> State:
    if end.verdict is Verdict.FAILURE or _is_slow(end):
        second = state.probed not in (0, ticket.caller)
        return _opened(
            state._replace(
                failures=state.failures + (end.verdict is Verdict.FAILURE),
                reopened=state.reopened + (not second),
                probed=0 if second or state.only else ticket.caller,
            ),
            now,
            policy,
            end.jitter,
        )
    if end.verdict is not Verdict.IGNORED:
        state = state._replace(successes=state.successes + 1)
        if state.successes >= policy.successes:
            closed = _changed(state, Phase.CLOSED, 0)
            return _for_all(closed)._replace(failures=0, weight=0, reopened=0, probed=0)
    # Only one's own lease is given back: a later probe may hold it by now.
    return state._replace(until=now) if state.until == ticket.lease else state


def _opened(state: State, now: int, policy: Policy, jitter: float = 1.0) -> State:
    # The first opening is as long as the operator has set it, to the microsecond.
    return _changed(state, Phase.OPEN, now + int(policy.opening(state.reopened) * jitter))


def _changed(state: State, phase: Phase, until: int) -> State:
    """In the next generation, nothing counted but what outlives a phase."""
    kept = state._replace(phase=phase, generation=state.generation + 1, until=until)
    return _without_window(kept)._replace(successes=0)


def _without_window(state: State) -> State:
    return state._replace(window_until=0, calls=0, failed=0, slow=0, window_weight=0, bad=0)


def clamp_to_clock(state: State, now: int, policy: Policy) -> State:
    """A time further ahead than it can have been set to means that the clock was set back, or that a
    reload shortened it. It then begins anew, rather than hold for as long as the clock was set back."""
    if state.phase != Phase.CLOSED:
        leased = state.phase == Phase.HALF_OPEN
        anew = max(policy.lease, policy.answer_lease) if leased else policy.opening(state.reopened)
        longest = anew if leased or not state.reopened else int(anew * (1 + JITTER))
        if state.until > now + longest:
            state = state._replace(until=now + anew)
    if state.cool_until > now + LONGEST_COOL_DOWN:
        state = state._replace(cool_until=now + int(DEFAULT_COOL_DOWN * SECOND))
    return state
