"""Defines the errors that concern an upstream: calls not sent to it, and answers that are unusable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import GatewayError, Verdict

#: The next step after a fault that may be over when the request comes again.
SEND_AGAIN = "Send the request again; if it fails again, tell the gateway's operator."
#: The next step after a fault that stays until the operator mends it.
TELL_OPERATOR = (
    "Your request is fine: tell the gateway's operator, whose command `doctor` tests this upstream."
)


class UpstreamUnavailable(GatewayError):
    """The gateway did not send the call to the upstream, for a temporary reason."""

    status = 503
    code = "upstream_unavailable"
    retry_elsewhere = True


class CircuitOpen(UpstreamUnavailable):
    """The upstream's circuit breaker is open: it has failed too often."""


class UpstreamTakenOut(UpstreamUnavailable):
    """The operator has taken the upstream out: it gets no new calls for a while."""


class UpstreamFull(UpstreamUnavailable):
    """The upstream has as many calls in flight as the gateway allows."""

    code = "upstream_full"


class UpstreamKeyMissing(UpstreamUnavailable):
    """The command that prints the gateway's key for the upstream has printed none yet."""

    code = "upstream_key_missing"


class UpstreamBackingOff(UpstreamUnavailable):
    """The upstream asked for a pause (429), and the pause is not over."""

    status = 429
    code = "upstream_rate_limited"
    type = "requests"


class UpstreamError(GatewayError):
    """The upstream was called and returned no usable answer."""

    status = 502
    code: str | None = "upstream_error"
    origin = "upstream"
    retry_elsewhere = True
    verdict = Verdict.FAILURE
    #: The upstream's status, if it was not 200.
    answered: int | None = None
    #: Whether the upstream's body named ``stream_options``, which the gateway may have added to the request.
    names_stream_options = False


class UpstreamUnreachable(UpstreamError):
    """The connection failed, or broke before the first byte of an answer."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The upstream took too long: one of the gateway's timeouts fired, or the upstream reports a timeout.

    :param clock: the name of the timeout (see ``config.Timeouts``); ``None``: the upstream reported it.
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
    """The whole call timed out. This says nothing about the upstream that was working on it."""

    origin = "gateway"
    retry_elsewhere = False
    verdict = Verdict.IGNORED


class UpstreamMalformed(UpstreamError):
    """The answer does not follow the OpenAI API."""

    code = "upstream_malformed"


class UpstreamCut(UpstreamError):
    """The answer broke off."""

    code = "upstream_stream_cut"


class UpstreamAuthFailed(UpstreamError):
    """The upstream refused the gateway's credential. The caller's key was valid, so the status is not 401."""

    code = "upstream_auth_failed"
    verdict = Verdict.CREDENTIAL_REFUSED


class UpstreamOutOfCredit(UpstreamAuthFailed):
    """The account behind the gateway's credential is out of credit."""

    code = "upstream_out_of_credit"


class UpstreamOverloaded(UpstreamError):
    """The upstream reports that it is overloaded, or that its model is still loading."""

    code = "upstream_overloaded"


class UpstreamMisconfigured(UpstreamError):
    """The upstream's URL or kind is set wrongly: it answered a redirect, a web page or "not implemented"."""

    code = "upstream_misconfigured"
    verdict = Verdict.IGNORED


class UpstreamShowsPage(UpstreamMisconfigured):
    """The upstream returned a web page with a success status: a login page or a maintenance page."""

    verdict = Verdict.FAILURE


class UpstreamRefusal(UpstreamError):
    """The upstream answered a 4xx about the request itself. The caller receives it unchanged.

    :param status: the upstream's status.
    :param error_object: the upstream's own ``error`` object, which the caller receives.
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
        #: The whole answer, for callers of the same API; ``None``: they get ``error_object``.
        self.body: bytes | None = None
        code = error_object.get("code")
        self.code = None if code is None else str(code)


class UpstreamTooLong(UpstreamRefusal):
    """The request does not fit into the model's context. Another model may have a larger one."""


class UpstreamFlagged(UpstreamRefusal):
    """A content filter blocked the request. The gateway does not retry it at another upstream."""


class UpstreamModelNotFound(UpstreamRefusal):
    """The upstream does not have this model. Another upstream may have it."""

    retry_elsewhere = True


class UpstreamUnaffordable(UpstreamRefusal):
    """The request may cost more than the gateway's account has left. A smaller request would succeed."""

    retry_elsewhere = True


class UpstreamThrottled(UpstreamRefusal):
    """The upstream answered 429: its own rate limit, not the gateway's."""

    retry_elsewhere = True
    verdict = Verdict.THROTTLED


class UpstreamQuotaExhausted(UpstreamThrottled):
    """The upstream answered 429 because the credential's quota is used up. Waiting does not help."""

    verdict = Verdict.CREDENTIAL_REFUSED
