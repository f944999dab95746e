"""Limits the tokens of each subject in any 60 seconds. A call that finds too few left is refused with 429.

A call reserves its estimate before it is sent, and corrects it when its usage is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ..model.call import COUNTING, Call, Outcome
from ..model.errors import CallerLeft, DeadlineExceeded, TokensUsedUp
from ..model.limits import Estimate, SubjectLimits, words_of
from ..model.protocols import NO_PERMIT, Permit
from ..state.store import SECOND, Store, state_key
from ..state.together import StoreUpdate, TogetherStore, is_copied
from .allotments import LASTS, Allotments, Drawn
from .rate_limiter import duration
from .sliding_window import MINUTE
from .token_estimate import Estimates
from .token_returns import Returns, TokenReturns
from .token_window import CorrectTokens, GiveBackTokens, ReserveTokens, TokenQuota


class _Reserved(NamedTuple):
    """The tokens that one subject holds for a call."""

    key: str
    limit: int
    amount: int
    quota: TokenQuota


class _Allotted(NamedTuple):
    """An allotment as the calls see it that draw on it: their headers show what is left behind it."""

    quota: TokenQuota
    headers: Mapping[str, str]


#: The longest time since a change was prepared, seconds.
_ROUND_TRIP = 0.1
#: Returns the store's key of a subject's tokens.
tokens_key = partial(state_key, "tokens")


def token_headers(limit: int, quota: TokenQuota) -> dict[str, str]:
    """The OpenAI API's response headers for tokens."""
    return {
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(quota.remaining),
        "x-ratelimit-reset-tokens": duration(quota.reset),
    }


def tokens_left(store: Store, subject: str, limit: int, window: float = MINUTE) -> TokenQuota:
    """Return what is left of the tokens of a subject. :param window: seconds."""
    peek = ReserveTokens(limit, int(window * SECOND), 0).peek
    return store.update(tokens_key(subject), peek, ttl=window * 2)


def _left(reserved: _Reserved) -> int:
    return reserved.quota.remaining


class TokenLimiter:
    """Limits the tokens of the subjects of a call. Shared by all threads; the store guards its state."""

    def __init__(self, store: Store, estimates: Estimates, window: float = MINUTE) -> None:
        self._store = store
        self._together = store if isinstance(store, TogetherStore) else None
        self._estimates = estimates
        self._seconds = window
        self._window = int(window * SECOND)
        self._ttl = window * 2
        self._returns = TokenReturns(self._give_back)
        self._allotments: Allotments[_Allotted] = Allotments("tokens of busy keys", self._returns.keep)

    def admit(self, call: Call) -> Permit:
        """:raises TokensUsedUp: a subject has too few tokens left. The refused call is not counted."""
        limits = call.limits
        if limits is None or call.operation in COUNTING:
            return NO_PERMIT
        limited = (limits.sorted or limits.by_kind()).tokens
        if not limited:
            return NO_PERMIT
        estimate = limits.estimate or self._estimates.of(call, limits)
        permit, amount = TokenPermit(self, call, estimate), estimate.input + estimate.output
        if len(limited) == 1:
            subject, own = limited[0]
            key, limit = tokens_key(subject), own.tokens
            if drawn := self._draw(key, limit, amount):
                quota, permit.headers = drawn.grant
                permit.reserved.append(_Reserved(key, limit, amount, quota))
                return permit
        for one in limited:
            self._reserve(permit, one, amount)
        permit.tell()
        return permit

    def steps(self, call: Call) -> list[StoreUpdate]:
        """The changes of an admission (``guards.together``)."""
        limits = call.limits
        if limits is None or call.operation in COUNTING:
            return []
        limited = (limits.sorted or limits.by_kind()).tokens
        if not limited:
            return []
        estimate, steps = limits.estimate or self._estimates.of(call, limits), []
        for subject, own in limited:
            key, limit = tokens_key(subject), own.tokens
            if asked := self._allotments.foreseen(key, limit, estimate.input + estimate.output):
                steps.append(StoreUpdate(key, ReserveTokens(limit, self._window, asked), self._ttl))
        return steps

    def _reserve(self, permit: TokenPermit, subject: SubjectLimits, amount: int) -> None:
        key, limit = tokens_key(subject.subject), subject.limits.tokens
        drawn = self._draw(key, limit, amount)
        quota = drawn.grant.quota if drawn else self._ask(key, limit, amount)
        if quota.stamp:
            permit.reserved.append(_Reserved(key, limit, amount, quota))
            return
        permit.cancel()
        raise self._refusal(subject, amount, quota)

    def _draw(self, key: str, limit: int, amount: int) -> Drawn[_Allotted] | None:
        return None if is_copied(self._store, key) else self._allotments.draw(key, limit, amount)

    def _ask(self, key: str, limit: int, amount: int) -> TokenQuota:
        """Reserve in the store: for one call, or for later ones, too."""
        allotments = self._allotments
        if is_copied(self._store, key):  # nothing is reserved there: it says why a limit refuses
            quota = self._store.update(key, ReserveTokens(limit, self._window, amount), self._ttl)
            allotments.reserved(key, quota.remaining)
            return quota
        more = allotments.wanted(key, amount)
        prepared = self._together is not None and self._together.has(key, ReserveTokens, amount + more)
        # A prepared change gives nothing back; the thread does.
        returns = () if prepared else self._returns.take(key)
        if more:
            now = allotments.clock() - (_ROUND_TRIP if prepared else 0.0)
            quota = self._store.update(
                key, ReserveTokens(limit, self._window, amount + more, returns), self._ttl
            )
            if quota.stamp:
                # Tokens count from the end of their grain, so no later call may have them.
                until = now + min(LASTS, (quota.reset - self._window) / SECOND)
                allotted = _Allotted(quota, token_headers(limit, quota))
                allotments.take(key, limit, allotted, quota.stamp, more, quota.remaining, until)
                return quota
            returns = ()
        quota = self._store.update(key, ReserveTokens(limit, self._window, amount, returns), self._ttl)
        allotments.reserved(key, quota.remaining)
        return quota

    def _refusal(self, subject: SubjectLimits, amount: int, quota: TokenQuota) -> TokensUsedUp:
        limit = subject.limits.tokens
        begins = f"{words_of(subject.subject)} may use {limit} tokens in {self._seconds:g} seconds, "
        if amount > limit:
            error = TokensUsedUp(
                f"{begins}and this request alone needs about {amount}. "
                "Send a shorter prompt or allow a shorter answer."
            )
            error.headers["x-should-retry"] = "false"
        else:
            error = TokensUsedUp(
                f"{begins}{quota.remaining} are left, and this request needs about {amount}. "
                f"Try again in {duration(quota.wait)}.",
                retry_after=quota.wait / SECOND,
            )
        error.headers.update(token_headers(limit, quota))
        return error

    def correct(self, reserved: _Reserved, actual: int) -> None:
        if actual != reserved.amount:
            change = CorrectTokens(self._window, reserved.quota.stamp, reserved.amount, actual)
            self._store.update(reserved.key, change, self._ttl)

    def settle_steps(self, reserved: _Reserved, actual: int) -> list[StoreUpdate]:
        """The changes that :meth:`settle` makes where no allotment is in force."""
        key, stamp, amount = reserved.key, reserved.quota.stamp, reserved.amount
        if actual <= amount or self._allotments.current(key) is not None:
            return []
        return [StoreUpdate(key, CorrectTokens(self._window, stamp, amount, actual), self._ttl)]

    def settle(self, reserved: _Reserved, actual: int) -> None:
        """Correct the reservation of a call that has ended. Tokens that it did not use go back later."""
        unused, stamp = reserved.amount - actual, reserved.quota.stamp
        if self._allotments.put_back(reserved.key, stamp, unused):
            return
        if unused <= 0:
            self.correct(reserved, actual)
        else:
            self._returns.keep(reserved.key, stamp, unused)

    def _give_back(self, key: str, returns: Returns) -> None:
        self._store.update(key, GiveBackTokens(self._window, returns), self._ttl)

    def cancel(self, reserved: _Reserved) -> _Reserved:
        """Give back the tokens of a call that was not sent. Return the same subject with its quota then."""
        key, stamp, amount = reserved.key, reserved.quota.stamp, reserved.amount
        if not is_copied(self._store, key) and self._allotments.put_back(key, stamp, amount):
            return reserved
        self.correct(reserved, 0)
        peek = ReserveTokens(reserved.limit, self._window, 0).peek
        return reserved._replace(quota=self._store.update(reserved.key, peek, self._ttl))

    def used(self, call: Call, outcome: Outcome, estimate: Estimate) -> int:
        """The tokens that a call has used. The guess of its answers' length is corrected, too."""
        usage, limits = outcome.usage, call.limits
        if usage is not None:
            if limits is not None and not limits.learned:
                self._estimates.learn(call, limits, usage)
            return usage.prompt_tokens + usage.completion_tokens
        # An upstream has the prompt of a caller who left, or whose time ran out.
        sent = isinstance(outcome.error, CallerLeft | DeadlineExceeded) and outcome.upstream is not None
        return estimate.input if sent else 0


class TokenPermit:
    """The tokens that a call has reserved. Settling it twice corrects them once."""

    __slots__ = ("_call", "_estimate", "_limiter", "headers", "reserved")

    def __init__(self, limiter: TokenLimiter, call: Call, estimate: Estimate) -> None:
        self._limiter = limiter
        self._call = call
        self._estimate = estimate
        self.reserved: list[_Reserved] = []
        self.headers: Mapping[str, str] = {}

    def settle_steps(self, outcome: Outcome) -> list[StoreUpdate]:
        """The changes that :meth:`settle` makes: what was too little counts at once."""
        actual = self._limiter.used(self._call, outcome, self._estimate) if self.reserved else 0
        return [step for one in self.reserved for step in self._limiter.settle_steps(one, actual)]

    def tell(self) -> None:
        """Make the headers of the subject that has the fewest tokens left."""
        tightest = self.reserved[0] if len(self.reserved) == 1 else min(self.reserved, key=_left)
        self.headers = token_headers(tightest.limit, tightest.quota)

    def settle(self, outcome: Outcome) -> None:
        reserved, self.reserved = self.reserved, []
        if reserved:
            limiter = self._limiter
            actual = limiter.used(self._call, outcome, self._estimate)
            for one in reserved:
                limiter.settle(one, actual)

    def cancel(self) -> None:
        reserved, self.reserved = self.reserved, []
        if reserved:
            left = min([self._limiter.cancel(one) for one in reserved], key=_left)
            self.headers = token_headers(left.limit, left.quota)
