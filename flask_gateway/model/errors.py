"""Every way a call can end badly, each knowing its own consequence.

An error says which HTTP status and code it becomes, who is to blame, whether another upstream may
do better, and what it tells about the upstream that raised it. The raiser knows; the edge obeys
(``web/error_handlers.py`` renders, ``routing/dispatcher.py`` walks on, ``guards/breaker.py`` counts).

Statuses and codes follow the OpenAI API, so that its SDKs raise the exception a caller expects.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

#: How a system call fails for want of descriptors, of this process or of the machine: nobody else's fault.
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class Verdict(Enum):
    """What the end of an attempt says about the upstream that was asked."""

    SUCCESS = "success"
    #: The upstream is to blame.
    FAILURE = "failure"
    #: It says nothing: the caller left, we refused, we were shut down.
    IGNORED = "ignored"
    #: The upstream is well, the request was wrong: heals a probe, clears no count.
    ANSWERED = "answered"
    #: The upstream is well and does not take our credential: others are asked first for a while.
    DENIED = "denied"
    #: The upstream is well and wants a pause.
    THROTTLED = "throttled"


class GatewayError(Exception):
    """The root. Subclasses set the class attributes; an instance adds what happened this time.

    :param message: one or two sentences for the caller: what happened and what to do.
    :param param: the field of the request that is at fault, as OpenAI's ``error.param``.
    :param retry_after: seconds until another try makes sense, or ``None`` for "not known".
    :param upstream: the name of the upstream concerned.
    """

    status: int = 500
    code: str | None = "internal_error"
    type: str = "server_error"
    #: ``gateway`` or ``upstream``: who spoke.
    origin: ClassVar[str] = "gateway"
    #: Whether asking another upstream may give an answer.
    another_may_help: ClassVar[bool] = False
    verdict: ClassVar[Verdict] = Verdict.IGNORED

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream = upstream
        #: The longest wait that the header ``Retry-After`` may ask for, seconds.
        self.max_retry_after = math.inf
        #: Further headers for the caller, added by the guards the call has passed.
        self.headers: dict[str, str] = {}

    def envelope(self) -> dict[str, Any]:
        """The body that tells a caller: OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InternalError(GatewayError):
    """A fault of our own code. The details are in the log, never in the answer."""


class ServerShutdown(GatewayError):
    """This process is about to end. Another one answers the next try."""

    status = 503
    code = "server_shutdown"


class Overloaded(GatewayError):
    """This process has as much under way as it can carry."""

    status = 503
    code = "overloaded"


def known_codes() -> frozenset[str]:
    """Every code that is ours. What an upstream says of its own is in its errors, and not among them."""
    found, waiting = set(), [GatewayError]
    while waiting:
        kind = waiting.pop()
        found.add(kind.code)
        waiting += kind.__subclasses__()
    return frozenset(code for code in found if code is not None)


# ---------------------------------------------------------------- the caller's doing


class CallerError(GatewayError):
    """The request cannot be served as it was sent; sending it again unchanged will not help."""

    status = 400
    code: str | None = None
    type = "invalid_request_error"


class Unauthorized(CallerError):
    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers["WWW-Authenticate"] = "Bearer"


class AmbiguousCredentials(CallerError):
    code = "ambiguous_credentials"


class ModelNotAllowed(CallerError):
    status = 403
    code = "model_not_allowed"
    type = "permission_error"


class OperatorOnly(CallerError):
    """Only whoever runs the gateway may do this."""

    status = 403
    code = "operator_only"
    type = "permission_error"


class UnknownUpstream(CallerError):
    status = 404
    code = "upstream_not_found"


class OriginNotAllowed(CallerError):
    """A browser asks for a page of another origin, which may not call."""

    status = 403
    code = "origin_not_allowed"
    type = "permission_error"


class UnknownUrl(CallerError):
    status = 404
    code = "unknown_url"


class NotOffered(CallerError):
    """A path of another API, or of a part of OpenAI's that is not offered. It is no 404, because some clients
    take every 404 for a model that does not exist."""

    code = "not_offered"


class WebSocketNotOffered(CallerError):
    """The caller wants to speak WebSocket. Clients that are told so by this status use HTTP at once."""

    status = 426
    code = "websocket_not_offered"


class UnknownModel(CallerError):
    status = 404
    code = "model_not_found"


class MethodNotAllowed(CallerError):
    status = 405
    code = "method_not_allowed"


class BodyNotReceived(CallerError):
    """The body did not arrive as it was announced."""

    code = "incomplete_body"


class BodyTooSlow(CallerError):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(CallerError):
    status = 413
    code = "request_too_large"


class UnsupportedMediaType(CallerError):
    status = 415
    code = "unsupported_media_type"


class InvalidCompression(CallerError):
    """The body is not what its Content-Encoding says."""

    code = "invalid_compression"


class InvalidJson(CallerError):
    code = "invalid_json"


class InvalidField(CallerError):
    """A field is missing, of the wrong type, or ambiguous; ``param`` names it."""


class StateNotHere(InvalidField):
    """The request refers to what an upstream keeps, and nobody knows which one."""

    code = "state_not_here"

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message, param=param)
        if param == "previous_response_id":
            self.code = "previous_response_not_found"  # as OpenAI says it, so that clients know what to do


class CallerLeft(GatewayError):
    """The caller hung up before its answer was over. Nobody is left to be told; the log is."""

    status = 499  # nginx's word for it
    code = "client_closed_request"
    type = "invalid_request_error"


class RateLimited(CallerError):
    """The caller has used up its requests of the last minute."""

    status = 429
    code = "rate_limit_exceeded"
    type = "requests"


class TooManyFailedKeys(CallerError):
    """A wrong key, after too many others from the same address."""

    status = 429
    code = "too_many_failed_keys"
    type = "requests"


class TooManyConcurrent(CallerError):
    """The caller has as many calls under way as its key allows."""

    status = 429
    code = "rate_limit_exceeded"
    type = "concurrency"


# ---------------------------------------------------------------- refused on an upstream's account


class UpstreamUnavailable(GatewayError):
    """We did not ask the upstream, for a reason that will pass."""

    status = 503
    code = "upstream_unavailable"
    another_may_help = True


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


# ---------------------------------------------------------------- the upstream's doing


class UpstreamError(GatewayError):
    """The upstream was asked and did not give a usable answer."""

    status = 502
    code: str | None = "upstream_error"
    origin = "upstream"
    another_may_help = True
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
    another_may_help = False
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
    verdict = Verdict.DENIED


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
    :param said: the upstream's own ``error`` object, which the caller gets to see.
    """

    another_may_help = False
    verdict = Verdict.ANSWERED

    def __init__(
        self,
        message: str,
        *,
        status: int,
        said: Mapping[str, Any],
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, upstream=upstream)
        self.status = self.answered = status
        self.said = said
        code = said.get("code")
        self.code = None if code is None else str(code)

    def envelope(self) -> dict[str, Any]:
        missing = {"message": self.message, "type": "invalid_request_error", "param": None}
        return {"error": {**missing, **self.said, "code": self.code}}


class UpstreamTooLong(UpstreamRefusal):
    """The request does not fit into the model's context. Another model may have a larger one."""


class UpstreamFlagged(UpstreamRefusal):
    """A filter of content blocked the request. Nobody else is asked to answer it all the same."""


class UpstreamModelNotFound(UpstreamRefusal):
    """The upstream does not have this model. Another upstream may have it."""

    another_may_help = True


class UpstreamUnaffordable(UpstreamRefusal):
    """What the request may cost is more than our account has left there. A smaller one would be served."""

    another_may_help = True


class UpstreamThrottled(UpstreamRefusal):
    """The upstream answered 429: its limit, not ours."""

    another_may_help = True
    verdict = Verdict.THROTTLED


class UpstreamQuotaExhausted(UpstreamThrottled):
    """A 429 that no pause mends: what our credential may spend is spent."""

    verdict = Verdict.DENIED
