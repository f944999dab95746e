"""Guards an upstream with a circuit breaker: refuses calls while it keeps failing, and probes for its return.

The decisions are pure functions in ``breaker_state.py`` and ``pauses.py``. This module applies them to the
state in a store.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping

import msgspec

from ..model.call import Call, Outcome
from ..model.errors import (
    CircuitOpen,
    UpstreamBackingOff,
    UpstreamOutOfCredit,
    UpstreamQuotaExhausted,
    UpstreamTakenOut,
    Verdict,
)
from ..state.store import SECOND, Answer, Change, Store, Value, state_key
from .breaker_state import (
    CREDENTIAL_HOLD,
    DEFAULT_COOL_DOWN,
    JITTER,
    LONGEST_COOL_DOWN,
    MAX_COOL_DOWN,
    WINDOW,
    CallResult,
    Phase,
    Policy,
    Refusal,
    State,
    Ticket,
    admit,
    cancelled,
    clamp_to_clock,
    forgotten,
    is_credential_held,
    settle,
    try_now,
)
from .pauses import Pauses, digest_of, pause, pause_left, paused
from .taken_out import LONGEST_OUT, out_left

log = logging.getLogger(__name__)

#: The state of an upstream expires after so long without a call, seconds.
FORGET_AFTER = 3600.0

#: The usual case, created once: the upstream has no state, and the call succeeds.
FRESH, WELL, PLAIN = State(), CallResult(Verdict.SUCCESS), Ticket(State().generation)
#: The number of integers of the value that are the state. The pauses of single models follow.
_STATE = len(State._fields)


class BreakerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A breaker's state for status pages. ``retry_after``: seconds, ``None`` when calls may go through.

    :param failures: in a row.
    :param model: the one model that the breaker guards, if it does not guard the whole upstream.
    :param one_caller: it refuses only one caller, whose calls failed; others have called since.
    :param others_well: these have had a success. :param others_failures: their failures in a row.
    :param calls: calls that ended in the window, of which so many ``failed`` or were ``slow``. The window
        begins with the first such call.
    :param paused_models: how many models have a pause of their own after a 429.
    :param credential_refused: the upstream refused the gateway's credential, so others are tried first.
    :param taken_out: for how long the operator has taken it out, seconds; 0: not.
    """

    upstream: str
    state: str
    failures: int
    retry_after: float | None
    model: str | None = None
    one_caller: bool = False
    others_well: bool = False
    others_failures: int = 0
    calls: int = 0
    failed: int = 0
    slow: int = 0
    cooling: bool = False
    paused_models: int = 0
    credential_refused: bool = False
    taken_out: float = 0


class Breaker:
    """The circuit breaker of an upstream. Shared by all threads; the store guards its state.

    :param model: guard only this model, so that one failing model does not block a healthy host.
    :param on_change: called with the old and the new phase, on the thread whose call changed it.
    :param settings: identifies the settings of the upstream and its breaker. The state belongs to them: under
        other settings the breaker begins closed, whether they came by a reload, a HUP or a restart.
    """

    def __init__(
        self,
        upstream: str,
        store: Store,
        policy: Policy,
        model: str | None = None,
        on_change: Callable[[Phase, Phase], None] = lambda before, after: None,
        settings: str = "",
    ) -> None:
        self.upstream = upstream
        self.model = model
        self._store = store
        self._policy = policy
        self._on_change = on_change
        name = upstream if model is None else f"{upstream}/{model}"
        self._key = state_key("breaker", f"{name}#{settings}" if settings else name)
        self._ttl = policy.opening(0) / SECOND + FORGET_AFTER
        store.watch(self._key)

    def admit(self, call: Call) -> BreakerPermit:
        """:raises CircuitOpen: it failed too often. :raises UpstreamBackingOff: it asked for a pause.
        :raises UpstreamTakenOut: the operator has taken it out.
        """
        caller, model = call.caller.id, call.model
        value = self._store.read(self._key)
        if value is None:
            return BreakerPermit(self, PLAIN, caller, model)
        now = self._store.now()
        self._refuse_paused(_pauses(value), now, model)
        state, caller_digest = _state(value), digest_of(caller)
        after, answer = admit(state, now, self._policy, caller_digest, stream=call.stream)
        if after is not state:
            state, after, answer = self._update(
                lambda value, now: self._admit(value, now, caller_digest, call.stream)
            )
        if isinstance(answer, Refusal):
            raise self._refusal(answer)
        if after is not state:
            return ProbePermit(self, answer, caller, model, state, after)
        return BreakerPermit(self, answer, caller, model)

    def _admit(
        self, value: Value | None, now: int, caller: int, stream: bool
    ) -> tuple[Value | None, tuple[State, State, Ticket | Refusal]]:
        state = _state(value)
        after, answer = admit(state, now, self._policy, caller, stream=stream)
        return (value if after is state else (*after, *_pauses(value))), (state, after, answer)

    def cancel(self, ticket: Ticket, before: State, probing: State) -> None:
        """Undo the admission of a probe that was not sent.

        :param before: the state that admitted it. :param probing: the state after that.
        """

        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            state = _state(value)
            after = cancelled(state, now, ticket, before, probing)
            return (value if after is state else (*after, *_pauses(value))), None

        self._update(change)

    def _refuse_paused(self, pauses: Pauses, now: int, model: str) -> None:
        wait = pause_left(pauses, now, digest_of(model), LONGEST_COOL_DOWN) / SECOND if pauses else 0
        if wait:
            raise UpstreamBackingOff(
                f"Upstream '{self.upstream}' has asked for a pause of the model '{model}' (429). "
                f"Try again in {wait:.0f} s.",
                retry_after=wait,
                upstream=self.upstream,
            )

    def _refusal(self, refusal: Refusal) -> CircuitOpen | UpstreamBackingOff | UpstreamTakenOut:
        wait = refusal.wait / SECOND
        if refusal.out:
            return UpstreamTakenOut(
                f"The gateway's operator has taken upstream '{self.upstream}' out. "
                f"Try again in {wait:.0f} s, or ask the operator.",
                retry_after=wait,
                upstream=self.upstream,
            )
        if refusal.cooling:
            return UpstreamBackingOff(
                f"Upstream '{self.upstream}' has asked for a pause (429). Try again in {wait:.0f} s.",
                retry_after=wait,
                upstream=self.upstream,
            )
        why = (
            "calls of this key, and only of this key, failed there" if refusal.alone else "calls failed there"
        )
        return CircuitOpen(
            f"Upstream '{self.upstream}' is not called for now: too many {why}. "
            f"It will be tried again in {wait:.0f} s.",
            retry_after=wait,
            upstream=self.upstream,
        )

    def settle(self, ticket: Ticket, outcome: Outcome, caller: str = "", model: str = "") -> None:
        end = self._end(outcome)
        # Usually there is nothing to write, and a read costs less than an update.
        seen = self._store.read(self._key)
        if seen is None and end is WELL:
            return  # no stored state and a plain success: nothing to write
        ticket = ticket._replace(caller=digest_of(caller))
        # A breaker of one model keeps its only pause in the state.
        name = digest_of(model) if self.model is None else 0

        def change(value: Value | None, now: int) -> tuple[Value | None, bool]:
            state, pauses = _state(value), _pauses(value)
            pauses_after = None
            if name and end.verdict is Verdict.THROTTLED and state.generation == ticket.generation:
                pauses_after = pause(pauses, now, name, now + end.pause, LONGEST_COOL_DOWN)
            after = settle(state, now, self._policy, ticket, end, pauses=pauses_after is None)
            pauses_after = pauses if pauses_after is None else pauses_after
            same = after is state and pauses_after == pauses
            return (value if same else (*after, *pauses_after)), after.held_until > state.held_until

        anything = change(seen, self._store.now())[0] is not seen
        if anything and self._update(change):
            self._warn(outcome)

    def try_now(self) -> None:
        """Let the next call through despite failures and pauses. If the circuit is open, it is the probe."""

        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            return (None if value is None else try_now(_state(value), now)), None

        self._update(change)

    def take_out(self, seconds: float) -> None:
        """Let no new call through for so long, at most a day; 0 puts the upstream back. Calls in flight go
        on."""
        length = min(int(seconds * SECOND), LONGEST_OUT)

        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            until = now + length if length > 0 else 0
            return (*_state(value)._replace(out_until=until), *_pauses(value)), None

        self._update(change, seconds)

    def forget(self) -> None:
        """Forget failures, pauses and a refused credential, and close the circuit. Stay taken out."""

        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            return (None if value is None else forgotten(_state(value))), None

        self._update(change)

    def _update(self, change: Change[Answer], at_least: float = 0.0) -> Answer:
        """Change the state, and call ``on_change`` if that changed the phase."""
        phases = (Phase.CLOSED, Phase.CLOSED)

        def watched(value: Value | None, now: int) -> tuple[Value | None, Answer]:
            nonlocal phases
            after, answer = change(value, now)
            phases = (Phase(_state(value).phase), Phase(_state(after).phase))
            return after, answer

        answer = self._store.update(self._key, watched, max(self._ttl, at_least, self._out_left()))
        if phases[0] is not phases[1]:
            self._on_change(*phases)
        return answer

    def _out_left(self) -> float:
        """For how long the upstream is taken out, seconds. Its state must last as long."""
        value = self._store.read(self._key)
        return 0.0 if value is None else out_left(_state(value).out_until, self._store.now()) / SECOND

    @property
    def credential_refused(self) -> bool:
        """Whether the upstream refused the gateway's credential, so that others should be tried first."""
        value = self._store.read(self._key)
        return value is not None and is_credential_held(_state(value), self._store.now())

    def status(self, caller: str | None = None, model: str | None = None) -> BreakerStatus:
        """Describe the breaker: for all callers, or for one caller and one model.

        :param caller: show the circuit as this caller sees it: open for another caller alone is closed.
        :param model: the upstream's name for it; count only its pause. Without it, count all pauses.
        """
        now, value = self._store.now(), self._store.read(self._key)
        state, pauses = clamp_to_clock(_state(value), now, self._policy), _pauses(value)
        phase = Phase(state.phase)
        if caller is not None and state.only not in (0, digest_of(caller)):
            phase = Phase.CLOSED
        names = (digest_of(model),) if model else pauses[::2]
        left = (pause_left(pauses, now, name, LONGEST_COOL_DOWN) for name in names)
        cool_until = max(state.cool_until, now + max(left, default=0))
        out = out_left(state.out_until, now)
        wait = max(state.until if phase is not Phase.CLOSED else 0, cool_until, now + out) - now
        window = state if now < state.window_until <= now + WINDOW else FRESH
        return BreakerStatus(
            upstream=self.upstream,
            state=phase.name,
            failures=state.failures,
            retry_after=round(wait / SECOND, 3) if wait > 0 else None,
            model=self.model,
            one_caller=phase is not Phase.CLOSED and bool(state.others or state.others_well),
            others_well=bool(state.others_well),
            others_failures=state.others,
            calls=window.calls,
            failed=window.failed,
            slow=window.slow,
            cooling=now < cool_until,
            paused_models=paused(pauses, now, LONGEST_COOL_DOWN),
            credential_refused=is_credential_held(state, now),
            taken_out=round(out / SECOND, 3) or 0,  # the default itself, which is left out
        )

    def _end(self, outcome: Outcome) -> CallResult:
        limit = self._policy.slow
        slow = (
            limit > 0
            and outcome.first_token_seconds is not None
            and outcome.first_token_seconds * SECOND > limit
        )
        if outcome.verdict is Verdict.SUCCESS and not slow:
            return WELL
        wanted = _pause(outcome) if outcome.verdict is Verdict.THROTTLED else 0
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
        return CallResult(outcome.verdict, wanted, slow, jitter)

    def _warn(self, outcome: Outcome) -> None:
        is_spent = isinstance(outcome.error, UpstreamOutOfCredit | UpstreamQuotaExhausted)
        what = "says that its quota or credit is used up" if is_spent else "refused the gateway's credential"
        log.warning(
            "upstream '%s' %s (status %s): for %.0f s it is tried last",
            self.upstream,
            what,
            getattr(outcome.error, "answered", None),
            CREDENTIAL_HOLD,
        )


def _state(value: Value | None) -> State:
    # Ignore a value with another layout: an older version wrote it.
    fits = value and len(value) >= _STATE and len(value) % 2 == _STATE % 2
    return State(*value[:_STATE]) if value and fits else FRESH


def _pauses(value: Value | None) -> Pauses:
    return value[_STATE:] if value and len(value) % 2 == _STATE % 2 else ()


def _pause(outcome: Outcome) -> int:
    """Return how long to pause a throttled upstream, microseconds. Jitter spreads the callers' return."""
    requested = outcome.error.retry_after if outcome.error else None
    seconds = min(DEFAULT_COOL_DOWN if requested is None else requested, MAX_COOL_DOWN)
    return int(seconds * SECOND * random.uniform(1.0, 1.1))  # noqa: S311 - spreads load, guards nothing


class BreakerPermit:
    """The permit of an admitted call. Settling it again does nothing."""

    headers: Mapping[str, str] = {}

    def __init__(self, breaker: Breaker, ticket: Ticket, caller: str, model: str) -> None:
        self._breaker = breaker
        self._ticket: Ticket | None = ticket
        self._caller = caller
        self._model = model

    def settle(self, outcome: Outcome) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._breaker.settle(ticket, outcome, self._caller, self._model)

    def cancel(self) -> None:
        """Do nothing more: the admission of a call that is no probe has changed no state."""
        self._ticket = None


class ProbePermit(BreakerPermit):
    """The permit of a probe.

    :param before: the state that admitted it. :param probing: the state after that.
    """

    def __init__(
        self, breaker: Breaker, ticket: Ticket, caller: str, model: str, before: State, probing: State
    ) -> None:
        super().__init__(breaker, ticket, caller, model)
        self._before = before
        self._probing = probing

    def cancel(self) -> None:
        """Give the probe back, so that the next call may take it."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._breaker.cancel(ticket, self._before, self._probing)
