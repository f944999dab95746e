"""Tests the errors of upstreams: what each says about the upstream, and whether another may help."""

from __future__ import annotations

import pytest

from flask_gateway.model import errors
from flask_gateway.model.errors import GatewayError, UpstreamRefusal, UpstreamTimeout, Verdict


@pytest.mark.parametrize(
    ("kind", "verdict", "elsewhere"),
    [
        (errors.CircuitOpen, Verdict.IGNORED, True),
        (errors.UpstreamFull, Verdict.IGNORED, True),
        (errors.UpstreamUnreachable, Verdict.FAILURE, True),
        (errors.UpstreamTimeout, Verdict.FAILURE, True),
        (errors.DeadlineExceeded, Verdict.IGNORED, False),
        (errors.UpstreamAuthFailed, Verdict.CREDENTIAL_REFUSED, True),
        (errors.UpstreamMisconfigured, Verdict.IGNORED, True),
        (errors.UpstreamRefusal, Verdict.REJECTED, False),
        (errors.UpstreamThrottled, Verdict.THROTTLED, True),
        (errors.UpstreamQuotaExhausted, Verdict.CREDENTIAL_REFUSED, True),
        (errors.UpstreamModelNotFound, Verdict.REJECTED, True),
        (errors.UpstreamFlagged, Verdict.REJECTED, False),
    ],
)
def test_each_error_judges_its_upstream(kind: type[GatewayError], verdict: Verdict, elsewhere: bool) -> None:
    assert (kind.verdict, kind.retry_elsewhere) == (verdict, elsewhere)


def test_a_refusal_has_the_upstreams_status_and_code() -> None:
    refusal = UpstreamRefusal("x", status=422, error_object={"code": 7})
    assert (refusal.status, refusal.answered, refusal.code) == (422, 422, "7")
    assert UpstreamRefusal("x", status=400, error_object={}).code is None


def test_a_timeout_names_its_clock() -> None:
    assert UpstreamTimeout("x", clock="idle").clock == "idle"
    assert UpstreamTimeout("x").clock is None
