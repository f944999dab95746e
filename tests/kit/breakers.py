"""Provides what the tests of the breaker share: policies, outcomes, and calls through a breaker."""

from __future__ import annotations

import msgspec

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import (
    UpstreamThrottled,
    Verdict,
)
from flask_gateway.state.store import SECOND
from kit.calls import make_call

POLICY = Policy(max_failures=3, reset=30 * SECOND, lease=12 * SECOND, slow=2 * SECOND)


TWICE = msgspec.structs.replace(POLICY, successes=2)


SUCCESS = Outcome(Verdict.SUCCESS)
FAILURE = Outcome(Verdict.FAILURE)


REFUSED = Outcome(Verdict.CREDENTIAL_REFUSED, error=error_for(401, {}, b"", "llama"))
IGNORED = Outcome(Verdict.IGNORED)
REJECTED = Outcome(Verdict.REJECTED)


def throttled(seconds: float | None) -> Outcome:
    error = UpstreamThrottled("slow down", status=429, error_object={}, retry_after=seconds)
    return Outcome(Verdict.THROTTLED, error=error)


def go(breaker: Breaker) -> BreakerPermit:
    return breaker.admit(make_call())


def trip(breaker: Breaker) -> None:
    for _ in range(POLICY.max_failures):
        go(breaker).settle(FAILURE)
