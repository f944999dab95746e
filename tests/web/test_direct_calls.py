"""The limits of calls without a model."""

from __future__ import annotations

from flask_gateway.model.limits import CallLimits, Limits, SubjectLimits
from flask_gateway.web.direct_calls import _of_requests


def test_a_request_that_costs_nothing_has_the_limits_of_requests_alone() -> None:
    subject = SubjectLimits("key:web", Limits(requests=3, tokens=100, concurrent=2))
    found = _of_requests(CallLimits((subject,)))
    assert found.sorted is not None
    assert (found.sorted.tokens, found.sorted.budgets) == ((), ())
    assert found.sorted.requests == found.sorted.concurrent == (subject,)
