"""Defines the base class of all errors, and the errors that concern neither the caller nor an upstream.

An error class says which HTTP status and code it becomes, whether the gateway or the upstream caused it,
whether another upstream may succeed, and what it says about the upstream. Other packages only read that:
``dialects/`` words errors, ``routing/dispatcher.py`` decides about retries, and
``guards/breaker.py`` counts failures.

Statuses and codes follow the OpenAI API, so that its SDKs raise the exception a caller expects.
"""

from __future__ import annotations

import errno
import math
from enum import Enum
from typing import ClassVar

#: The errno of a system call for which this process, or the machine, had no descriptor left.
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)

#: The ``retry_after`` of a refusal for lack of room, seconds. The end of a call cannot be predicted, so this
#: is short.
RETRY_SOON = 1.0


class Verdict(Enum):
    """The conclusion about an upstream that an attempt ended with."""

    SUCCESS = "success"
    #: The upstream failed.
    FAILURE = "failure"
    #: It says nothing about the upstream: the caller left, the gateway refused, or the process shut down.
    IGNORED = "ignored"
    #: The upstream works and rejected the request: a probe succeeds, the count of failures stays.
    REJECTED = "rejected"
    #: The upstream works and refused the gateway's credential: other upstreams are tried first for a while.
    CREDENTIAL_REFUSED = "credential_refused"
    #: The upstream works and asked for a pause.
    THROTTLED = "throttled"


class GatewayError(Exception):
    """The base class. Subclasses set the class attributes; an instance adds the details.

    :param message: one or two sentences for the caller: what happened and what to do.
    :param param: the field of the request that is at fault, as OpenAI's ``error.param``.
    :param retry_after: seconds until a retry makes sense; ``None``: not known.
    :param upstream: the name of the upstream concerned.
    """

    status: int = 500
    code: str | None = "internal_error"
    type: str = "server_error"
    #: The origin of the error: ``gateway`` or ``upstream``.
    origin: ClassVar[str] = "gateway"
    #: Whether a retry at another upstream may succeed.
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
        #: Further response headers, added by the guards that admitted the call.
        self.headers: dict[str, str] = {}


class InternalError(GatewayError):
    """The gateway's own code failed. The log has the details; the answer never has them."""


class ServerShutdown(GatewayError):
    """This process is shutting down. Another process answers the retry."""

    status = 503
    code = "server_shutdown"


class KeysUnavailable(GatewayError):
    """The newest keys cannot be read or changed now. Known keys go on."""

    status = 503
    code = "keys_unavailable"


class Overloaded(GatewayError):
    """This process has as many calls in flight as it can serve."""

    status = 503
    code = "overloaded"


class NotCached(GatewayError):
    """The caller wants a kept answer, and there is none (RFC 9111, section 5.2.1.7)."""

    status = 504
    code = "not_cached"


class PluginFailed(GatewayError):
    """A plugin failed, and its settings say that calls are then refused."""

    code = "plugin_failed"


class BudgetUnknown(GatewayError):
    """A strict budget, and the gateway cannot know what was used of it."""

    status = 503
    code = "budget_unknown"


class LedgerUnavailable(BudgetUnknown):
    """A strict budget, and what the call costs could not be written down."""

    code = "ledger_unavailable"


def known_codes() -> frozenset[str]:
    """Return every error code of the gateway. Codes that only an upstream uses are not included."""
    codes, pending = set(), [GatewayError]
    while pending:
        kind = pending.pop()
        codes.add(kind.code)
        pending += kind.__subclasses__()
    return frozenset(code for code in codes if code is not None)
