"""Every way a call can end badly, each knowing its own consequence.

An error says which HTTP status and code it becomes, who is to blame, whether another upstream may
do better, and what it tells about the upstream that raised it. The raiser knows; the edge obeys
(``web/error_handlers.py`` renders, ``routing/dispatcher.py`` walks on, ``guards/breaker.py`` counts).

Statuses and codes follow the OpenAI API, so that its SDKs raise the exception a caller expects.
"""

from __future__ import annotations

import errno
import math
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
    REJECTED = "rejected"
    #: The upstream is well and does not take our credential: others are asked first for a while.
    CREDENTIAL_REFUSED = "credential_refused"
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
    retry_elsewhere: ClassVar[bool] = False
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
