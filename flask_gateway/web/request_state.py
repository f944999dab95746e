"""What is known of a request while it is served, kept behind Flask's ``g``."""

from __future__ import annotations

from flask import g, request
from flask.ctx import _AppCtxGlobals

from ..app.build import Gateway
from ..model.call import Caller, Ids
from .headers import Header

#: Of a request at which the door failed before it gave it ids.
_NOT_YET = Ids(request="-", trace="-", traceparent="")


class RequestState:
    """One request's. Made before anything looks at the request, filled at the door.

    :ivar started: ``time.monotonic()``, seconds.
    :ivar gateway: serves this request from beginning to end: another may take its place meanwhile, and serves
        the next. :ivar header: gives a header of the request by its name.
    :ivar caller: ``None`` where nobody need be known.
    :ivar recorded: whether somebody else writes it down. :ivar code: of the error it was answered with.
    """

    __slots__ = ("caller", "code", "gateway", "header", "ids", "recorded", "started")

    started: float
    gateway: Gateway
    header: Header
    ids: Ids

    def __init__(self) -> None:
        self.ids = _NOT_YET
        self.caller: Caller | None = None
        self.recorded = False
        self.code: str | None = None

    @property
    def known(self) -> Caller:
        """The caller, where the door lets in nobody that is not known."""
        assert self.caller is not None
        return self.caller


class Globals(_AppCtxGlobals):
    """Flask's ``g``, which takes any attribute, with ours in a slot where no name of others' meets it."""

    __slots__ = ("_visit",)

    _visit: RequestState

    def __init__(self) -> None:
        object.__setattr__(self, "_visit", RequestState())  # Flask's own would not put it into the slot


def request_state() -> RequestState:
    """That of the request that this thread serves."""
    return g._get_current_object()._visit  # type: ignore[no-any-return]  # for it is a proxy


def is_multiprocess() -> bool:
    """Whether the server has several processes that serve, as it says itself (PEP 3333)."""
    return bool(request.environ.get("wsgi.multiprocess"))


def gateway() -> Gateway:
    """The gateway that serves this request."""
    return request_state().gateway
