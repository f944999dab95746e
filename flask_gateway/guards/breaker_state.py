"""Computes the transitions of a circuit breaker, in the pure functions ``admit`` and ``settle``.

This module does not know what the breaker guards, or where ``breaker.py`` stores the state.

CLOSED    Every call goes through. The circuit opens after ``max_failures`` failures in a row. It also opens
          if, among the calls that ended within a **window**, half failed or four fifths were slow.
OPEN      No call goes through until the reset time has passed. The next call is then the probe.
HALF_OPEN One probe is in flight, and no other call goes through. The probe holds a lease that expires, so a
          worker that dies with it blocks nobody. ``successes`` successful probes in a row close the circuit.
          A failed probe opens it again, for twice as long. A probe without a verdict returns the lease.

Each change of phase increments the **generation**. A call's end counts only in the generation that admitted
the call. So a slow failure from before the opening cannot re-open a circuit that has closed since.

The window begins with the first failure or slow call and ends ten seconds later. Outside a window, a
successful call changes nothing, so the calls of a healthy upstream write nothing.

The state has three more deadlines. **Cool-down**: the upstream answered 429; it works and wants a pause.
**Credential hold**: the upstream works and refused the gateway's credential; others are tried first.
**Taken out**: the operator lets no new call through until then.

The failures of a single caller open the circuit **only** for that caller, because a prompt that makes the
upstream fail says nothing about other callers' prompts.

- If one caller has more than three quarters of the failures that open the circuit, it opens for that caller.
  All other callers pass as in CLOSED, with their own count of failures. If their failures open it, it opens
  for all.
- Until one of the other callers has had a success, two failures in a row of theirs are enough: the upstream
  is probably down.
- A failed probe counts for its caller. While the circuit is open for all, another caller may probe at once.
  When the probes of two callers have failed, all callers wait.

A Boyer-Moore vote finds the majority: two integers are enough for any number of callers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from ..model.errors import Verdict
from ..state.store import SECOND
from .taken_out import out_left

#: The cool-down after a 429 without a ``Retry-After``, seconds.
DEFAULT_COOL_DOWN = 5.0
#: The longest cool-down after a 429 with a ``Retry-After``, seconds.
MAX_COOL_DOWN = 60.0
#: The longest cool-down including jitter, microseconds.
LONGEST_COOL_DOWN = int(MAX_COOL_DOWN * SECOND * 1.2)
#: How long other upstreams are tried before one that refused the gateway's credential, seconds.
CREDENTIAL_HOLD = 60.0

#: The window, microseconds, and the minimum of calls in it before the failure rate counts. If
#: ``max_failures`` is higher, it is the minimum.
WINDOW, MIN_CALLS = 10 * SECOND, 20
#: How many failures in a row of the other callers open a circuit for all that is open for one caller, if none
#: of them has had a success meanwhile.
UNPROVEN = 2
#: The longest repeated opening, microseconds, unless the reset time itself is longer.
LONGEST = 60 * SECOND
#: The jitter of a repeated opening, as a fraction, so that machines do not all probe at the same time.
JITTER = 0.2


class Phase(IntEnum):
    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class State(NamedTuple):
    """The complete state, as the store keeps it. Times in microseconds of the store's clock.

    :param failures: consecutive failures; calls without a verdict do not reset it.
    :param until: OPEN: when a probe may start. HALF_OPEN: when the probe's lease ends.
    :param cool_until: when the pause after a 429 ends.
    :param held_until: when the credential hold ends.
    :param reopened: failed probes since the circuit was last closed.
    :param successes: successful probes in a row.
    :param window_until: when the window ends; ``calls``, ``failed`` and ``slow`` count within it.
    :param suspect: the caller who leads the vote over the failures in a row. :param weight: its lead.
    :param window_suspect: the leader of the vote over the window's failed and slow calls.
    :param window_weight: its lead. :param bad: the number of failed and slow calls of the window.
    :param only: the only caller for whom the circuit is open; 0: it is open for all.
    :param others: failures in a row of the other callers, while the circuit is open for one caller.
    :param others_well: 1 if one of the other callers has had a success meanwhile.
    :param probed: the caller of the last failed probe, while no other caller's probe has failed; 0: none.
    :param prober: the caller whose probe holds the lease. :param others_until: when others may probe too.
    :param out_until: until when the operator has taken the upstream out.
    """

    phase: int = Phase.CLOSED
    failures: int = 0
    generation: int = 0
    until: int = 0
    cool_until: int = 0
    held_until: int = 0
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
    out_until: int = 0


class Policy(msgspec.Struct, frozen=True):
    """The settings of a breaker: when the circuit opens, and for how long.

    :param max_failures: failures in a row that open the circuit.
    :param reset: microseconds from opening to the probe.
    :param lease: microseconds after which an unfinished probe no longer blocks the next.
    :param answer_lease: the same for a probe that is not a stream; 0: as long as ``lease``.
    :param successes: successful probes in a row that close the circuit.
    :param slow: an answer whose first token takes longer than this is slow, microseconds; 0: none is.
    """

    max_failures: int
    reset: int
    lease: int
    successes: int = 1
    slow: int = 0
    answer_lease: int = 0

    def opening(self, reopened: int) -> int:
        """Return how long the circuit stays open after so many failed probes, microseconds without jitter."""
        return min(self.reset << min(reopened, 30), max(self.reset, LONGEST))


class Ticket(NamedTuple):
    """Identifies an admitted call when it settles. ``lease`` is 0 for all calls but a probe."""

    generation: int
    lease: int = 0
    caller: int = 0


class Refusal(NamedTuple):
    """The reason why a call may not go through, and the wait until it may, microseconds.

    :param alone: the circuit is open for this caller only.
    :param out: the operator has taken the upstream out.
    """

    cooling: bool
    wait: int
    alone: bool = False
    out: bool = False


class CallResult(NamedTuple):
    """How a call ended.

    :param pause: for ``THROTTLED``: the requested pause, microseconds.
    :param slow: whether its first token took too long.
    :param jitter: the factor for the length of a repeated opening, if this result causes one.
    """

    verdict: Verdict
    pause: int = 0
    slow: bool = False
    jitter: float = 1.0


def admit(
    state: State, now: int, policy: Policy, caller: int = 0, *, stream: bool = True
) -> tuple[State, Ticket | Refusal]:
    """Decide whether a call may go through. The state is unchanged unless this call becomes the probe."""
    state = clamp_to_clock(state, now, policy)
    if state.out_until and (left := out_left(state.out_until, now)):
        return state, Refusal(False, left, out=True)
    if now < state.cool_until:
        return state, Refusal(True, state.cool_until - now)
    if state.phase == Phase.CLOSED or _apart(state, caller):
        return state, Ticket(state.generation, 0, caller)
    if now < state.until and not _may_probe_too(state, now, policy, caller):
        return state, Refusal(False, state.until - now, bool(state.only))
    state = state._replace(prober=caller, others_until=now + policy.lease)
    lease = now + (policy.lease if stream else policy.answer_lease or policy.lease)
    if state.phase == Phase.HALF_OPEN:
        # The next of several probes, or the lease of the last one has expired. The last one may still
        # succeed, so the generation stays.
        return state._replace(until=lease), Ticket(state.generation, lease, caller)
    generation = state.generation + 1
    probing = state._replace(phase=Phase.HALF_OPEN, generation=generation, until=lease)
    return probing, Ticket(generation, lease, caller)


def _apart(state: State, caller: int) -> bool:
    """Return whether the circuit is open only for another caller."""
    return state.only != 0 and caller != state.only


def _may_probe_too(state: State, now: int, policy: Policy, caller: int) -> bool:
    """Return whether this caller may probe although one other caller's probe is in flight or has failed.

    A complete answer may take minutes. Its caller gets no second probe meanwhile. Other callers wait for it
    only as long as for a stream.
    """
    if state.phase == Phase.OPEN:
        return state.probed not in (0, caller)
    return state.prober not in (0, caller) and not now < state.others_until <= now + policy.lease


def settle(
    state: State, now: int, policy: Policy, ticket: Ticket, end: CallResult, *, pauses: bool = True
) -> State:
    """Return the state after a call has ended.

    :param pauses: whether a 429 pauses everything that the breaker guards.
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
        # The other callers' calls have failed as well: the circuit opens again, for all callers.
        return _opened(_for_all(state)._replace(failures=state.others, reopened=0), now, policy)
    return _opened_by(state, now, policy)


def cancelled(state: State, now: int, ticket: Ticket, before: State, probing: State) -> State:
    """Return the state after a probe that was not sent: the next call may probe at once.

    :param before: the state that admitted the probe. :param probing: the state after that.
    """
    if state == probing:
        return before
    # Other calls have changed the state meanwhile. Return the lease if this probe still holds it.
    own = state.generation == ticket.generation and state.until == ticket.lease
    return state._replace(until=now) if own and state.phase == Phase.HALF_OPEN else state


def try_now(state: State, now: int) -> State:
    """End all waiting: the next call is the probe, the cool-down and the credential hold are over."""
    waiting = state.phase == Phase.OPEN and now < state.until
    return state._replace(until=now if waiting else state.until, cool_until=0, held_until=0)


def forgotten(state: State) -> State:
    """Return the state of an upstream without a past. Calls in flight do not count in it."""
    return State(generation=state.generation + 1, out_until=state.out_until)


def is_credential_held(state: State, now: int) -> bool:
    """Return whether the credential hold is active. Ignore a time too far ahead: the clock was set back."""
    return now < state.held_until < now + int(2 * CREDENTIAL_HOLD * SECOND)


def _noted(state: State, now: int, end: CallResult) -> State:
    """Update the cool-down and the credential hold."""
    if end.verdict is Verdict.SUCCESS:
        return state._replace(held_until=0) if is_credential_held(state, now) else state
    if end.verdict is Verdict.THROTTLED:
        return state._replace(cool_until=max(state.cool_until, now + end.pause))
    # A hold is not prolonged: so the upstream is tried, and a refusal is logged, once per hold.
    if end.verdict is Verdict.CREDENTIAL_REFUSED and not is_credential_held(state, now):
        return state._replace(held_until=now + int(CREDENTIAL_HOLD * SECOND))
    return state


def _windowed(state: State, now: int, end: CallResult, caller: int) -> State:
    """Count a call in the window. A failed or slow call begins one."""
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
    """Add one vote to a Boyer-Moore vote. Return the leader and its lead."""
    if not weight:
        return caller, 1
    return suspect, weight + (1 if caller == suspect else -1)


def _is_slow(end: CallResult) -> bool:
    """Return whether the call counts as slow. A call whose caller left counts as nothing."""
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
    """Open the circuit, only for one caller if nearly all failures are that caller's."""
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
    # Return the lease only if this probe still holds it: a later probe may hold it by now.
    return state._replace(until=now) if state.until == ticket.lease else state


def _opened(state: State, now: int, policy: Policy, jitter: float = 1.0) -> State:
    # The first opening has no jitter: it lasts exactly as long as the operator has set.
    return _changed(state, Phase.OPEN, now + int(policy.opening(state.reopened) * jitter))


def _changed(state: State, phase: Phase, until: int) -> State:
    """Change the phase: start the next generation and reset the counts of the phase."""
    kept = state._replace(phase=phase, generation=state.generation + 1, until=until)
    return _without_window(kept)._replace(successes=0)


def _without_window(state: State) -> State:
    return state._replace(window_until=0, calls=0, failed=0, slow=0, window_weight=0, bad=0)


def clamp_to_clock(state: State, now: int, policy: Policy) -> State:
    """Shorten deadlines that lie too far ahead: the clock was set back, or a reload shortened them.

    Such a deadline restarts from now. Otherwise it would hold for as long as the clock was set back."""
    if state.phase != Phase.CLOSED:
        leased = state.phase == Phase.HALF_OPEN
        restart = max(policy.lease, policy.answer_lease) if leased else policy.opening(state.reopened)
        longest = restart if leased or not state.reopened else int(restart * (1 + JITTER))
        if state.until > now + longest:
            state = state._replace(until=now + restart)
    if state.cool_until > now + LONGEST_COOL_DOWN:
        state = state._replace(cool_until=now + int(DEFAULT_COOL_DOWN * SECOND))
    return state
