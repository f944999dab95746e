"""Keeps what the gateway knows about the current request, in a slot of Flask's ``g``."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request, request
from flask.ctx import AppContext, _AppCtxGlobals
from flask.globals import app_ctx

from ..app.build import Gateway
from ..model.call import Caller, Ids
from .request_headers import Header

#: The ids of a request that failed before ``hooks.py`` gave it its own.
_NO_IDS = Ids(request="-", trace="-", traceparent="")


class RequestState:
    """The state of one request. Flask makes it first; the hook before the request fills it.

    :ivar started: ``time.monotonic()``, seconds. :ivar started_ns: nanoseconds since the epoch.
    :ivar request: Flask's own, not its proxy.
    :ivar gateway: serves this request to its end, even if a reload replaces it for later requests.
    :ivar header: returns a header of the request by its name.
    :ivar caller: the authenticated caller; ``None`` on routes that need no key.
    :ivar recorded: whether the service records this request, so that ``hooks.py`` does not.
    :ivar model: the requested model, if ``compat`` needs it.
    :ivar code: the code of the error in the response, if it is one.
    """

    __slots__ = (
        "caller",
        "code",
        "gateway",
        "header",
        "ids",
        "model",
        "recorded",
        "request",
        "started",
        "started_ns",
    )

    started: float
    started_ns: int
    request: Request
    gateway: Gateway
    header: Header
    ids: Ids

    def __init__(self) -> None:
        self.ids = _NO_IDS
        self.caller: Caller | None = None
        self.recorded = False
        self.code: str | None = None
        self.model: str | None = None

    @property
    def known(self) -> Caller:
        """The authenticated caller; only for routes that require a key."""
        assert self.caller is not None
        return self.caller


class Globals(_AppCtxGlobals):
    """Flask's ``g``, which takes any attribute. Ours has a slot, so no other name can collide with it."""

    __slots__ = ("_state",)

    _state: RequestState

    def __init__(self) -> None:
        object.__setattr__(self, "_state", RequestState())  # Flask's own __setattr__ ignores slots


#: Returns Flask's context of the request that this thread serves. An access through a proxy of Flask, such as
#: ``g``, costs several times as much.
current_context: Callable[[], AppContext] = app_ctx._get_current_object  # type: ignore[attr-defined]


def request_state() -> RequestState:
    """The state of the request that this thread serves."""
    return current_context().g._state  # type: ignore[no-any-return]


def is_multiprocess() -> bool:
    """Whether the server runs several worker processes, by its own word (PEP 3333)."""
    return bool(request.environ.get("wsgi.multiprocess"))


def gateway() -> Gateway:
    """The gateway that serves this request."""
    return request_state().gateway
