"""Provides what the tests of a breaker with several callers share."""

from __future__ import annotations

from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.model.call import Caller, Outcome
from flask_gateway.model.errors import CircuitOpen, UpstreamBackingOff, UpstreamThrottled, Verdict
from flask_gateway.state.store import SECOND
from kit.calls import make_call

POLICY = Policy(max_failures=5, reset=30 * SECOND, lease=17 * SECOND)


GOOD, BAD = Outcome(Verdict.SUCCESS), Outcome(Verdict.FAILURE)
SLOW, LEFT = Outcome(Verdict.SUCCESS, first_token_seconds=2.5), Outcome(Verdict.IGNORED)


def begin(breaker: Breaker, caller: str) -> BreakerPermit:
    return breaker.admit(make_call(caller=Caller(caller, 0)))


def end(breaker: Breaker, caller: str, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        begin(breaker, caller).settle(outcome)


def refused(breaker: Breaker, caller: str) -> bool:
    try:
        begin(breaker, caller).settle(LEFT)
    except CircuitOpen:
        return True
    return False


def throttled(seconds: float = 20) -> Outcome:
    return Outcome(
        Verdict.THROTTLED,
        error=UpstreamThrottled("slow down", status=429, error_object={}, retry_after=seconds),
    )


def ask(breaker: Breaker, model: str, outcome: Outcome = GOOD) -> None:
    breaker.admit(make_call(model)).settle(outcome)


def is_paused(breaker: Breaker, model: str) -> bool:
    try:
        ask(breaker, model)
    except UpstreamBackingOff:
        return True
    return False
