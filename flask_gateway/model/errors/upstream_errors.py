"""Defines the errors that concern an upstream: calls not sent to it, and answers that are unusable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import GatewayError, Verdict


class UpstreamUnavailable(GatewayError):
    """We did not ask the upstream, for a reason that will pass."""

    status = 503
    code = "upstream_unavailable"
    retry_elsewhere = True


class CircuitOpen(UpstreamUnavailable):
    """It has failed too often of late."""


class UpstreamFull(UpstreamUnavailable):
    """It has as many calls under way as we allow it."""

    code = "upstream_full"


class UpstreamBackingOff(UpstreamUnavailable):
    """It asked for a pause (429), and the pause is not over."""

    status = 429
    code = "upstream_rate_limited"
    type = "requests"


class UpstreamError(GatewayError):
    """The upstream was asked and did not give a usable answer."""

    status = 502
    code: str | None = "upstream_error"
    origin = "upstream"
    retry_elsewhere = True
    verdict = Verdict.FAILURE
    #: The status that the upstream answered with, if it was not 200.
    answered: int | None = None


class UpstreamUnreachable(UpstreamError):
    """No connection, or it was lost before any byte of an answer."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """It took too long: one of our clocks rang, or it says so itself.

    :param clock: the name of the clock (see ``config.Clocks``); ``None`` when it was not ours.
    """

    status = 504
    code = "upstream_timeout"

    def __init__(
        self,
        message: str,
        *,
        clock: str | None = None,
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, upstream=upstream)
        self.clock = clock


class DeadlineExceeded(UpstreamTimeout):
    """The time for the whole call is over, which says nothing of the upstream that was at work then."""

    origin = "gateway"
    retry_elsewhere = False
    verdict = Verdict.IGNORED


class UpstreamMalformed(UpstreamError):
    """An answer that is not what the OpenAI API gives."""

    code = "upstream_malformed"


class UpstreamCut(UpstreamError):
    """The answer broke off."""

    code = "upstream_stream_cut"


class UpstreamAuthFailed(UpstreamError):
    """The upstream refused *our* credential. The caller's own key was fine, so never a 401."""

    code = "upstream_auth_failed"
    verdict = Verdict.CREDENTIAL_REFUSED


class UpstreamOutOfCredit(UpstreamAuthFailed):
    """The account behind *our* credential has nothing left to spend."""

    code = "upstream_out_of_credit"


class UpstreamOverloaded(UpstreamError):
    """It says that it has too much to do, or that its model is still loading."""

    code = "upstream_overloaded"


class UpstreamMisconfigured(UpstreamError):
    """A redirect, a web page, "not implemented": the upstream's URL or kind is set wrongly."""

    code = "upstream_misconfigured"
    verdict = Verdict.IGNORED


class UpstreamShowsPage(UpstreamMisconfigured):
    """A web page under a good status: a login, or the page of a server that is being worked at."""

    verdict = Verdict.FAILURE


class UpstreamRefusal(UpstreamError):
    """The upstream answered a 4xx about the request itself; given back as it is.

    :param status: the upstream's status.
    :param error_object: the upstream's own ``error`` object, which the caller gets to see.
    """

    retry_elsewhere = False
    verdict = Verdict.REJECTED

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_object: Mapping[str, Any],
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, upstream=upstream)
        self.status = self.answered = status
        self.error_object = error_object
        code = error_object.get("code")
        self.code = None if code is None else str(code)

    def envelope(self) -> dict[str, Any]:
        missing = {"message": self.message, "type": "invalid_request_error", "param": None}
        return {"error": {**missing, **self.error_object, "code": self.code}}


class UpstreamTooLong(UpstreamRefusal):
    """The request does not fit into the model's context. Another model may have a larger one."""


class UpstreamFlagged(UpstreamRefusal):
    """A filter of content blocked the request. Nobody else is asked to answer it all the same."""


class UpstreamModelNotFound(UpstreamRefusal):
    """The upstream does not have this model. Another upstream may have it."""

    retry_elsewhere = True


class UpstreamUnaffordable(UpstreamRefusal):
    """What the request may cost is more than our account has left there. A smaller one would be served."""

    retry_elsewhere = True


class UpstreamThrottled(UpstreamRefusal):
    """The upstream answered 429: its limit, not ours."""

    retry_elsewhere = True
    verdict = Verdict.THROTTLED


class UpstreamQuotaExhausted(UpstreamThrottled):
    """A 429 that no pause mends: what our credential may spend is spent."""

    verdict = Verdict.CREDENTIAL_REFUSED
