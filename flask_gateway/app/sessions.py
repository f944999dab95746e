"""Builds the services of WebSocket sessions: one opens them, one admits their responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from ..config.schema import Settings
from ..guards.inflight import InFlightCalls
from ..model.call import SESSIONS, Call, Operation
from ..model.protocols import Guard, Service
from ..model.reply import Reply
from ..routing.dispatcher import Guarded
from ..telemetry.request_record import Observer, RecordingService
from .candidates import Candidates

if TYPE_CHECKING:
    from ..realtime.turns import Turn
    from .accounting import Accounting

_MISSING = (
    "an upstream speaks {}, which needs the package wsproto: install the extra, pip install "
    "'flask-llm-gateway[realtime]', or take the operation out of 'speaks'"
)


class Sessions(NamedTuple):
    """The services of WebSocket sessions.

    :param operations: those that an upstream speaks. :param opening: opens a session at an upstream.
    :param responses: admits a response within a session. :param inflight: counts the sessions.
    """

    operations: frozenset[Operation]
    opening: Service
    responses: Service
    inflight: InFlightCalls


def sessions_of(  # noqa: PLR0913  what the services are built of
    settings: Settings,
    dispatcher: Service,
    candidates: Candidates,
    opening: Sequence[Guard],
    responses: Sequence[Guard],
    observers: Sequence[Observer],
    accounting: Accounting | None,
    inflight: InFlightCalls,
    begin: Callable[[Call], Call] | None = None,
) -> Sessions | None:
    """Return the services, ``None`` if no upstream speaks such an operation. Otherwise nothing is imported.

    :param opening: asked when a session opens; it holds their permits. :param responses: asked for each
        response. :param begin: returns a call with the plugins that see it; ``None``: there are none.
    :raises ValueError: the extra is not installed.
    """
    spoken = _spoken(settings)
    if not spoken:
        return None
    try:
        from ..realtime.turns import TurnService
    except ImportError:
        raise ValueError(_MISSING.format(min(spoken))) from None

    admitted: Service = Guarded(TurnService(candidates.asked_at), responses)
    if accounting is not None:
        admitted = accounting.around(admitted)
    return Sessions(
        spoken,
        RecordingService(Guarded(dispatcher, opening), observers, method="GET", begin=begin),
        RecordingService(admitted, observers, begin=begin),
        inflight,
    )


def _spoken(settings: Settings) -> frozenset[Operation]:
    return frozenset(SESSIONS).intersection(
        operation for upstream in settings.upstreams for operation in upstream.operations
    )


class CallMaker(Protocol):
    """Makes the calls of a session from its caller's request."""

    def opening(self, model: str) -> Call:
        """The call that opens it. :raises ModelNotAllowed: the key may not call the model."""
        ...

    def response(self, model: str, fields: Mapping[str, msgspec.Raw], upstream: str) -> Call:
        """The call of one response. :raises GatewayError: it may not be made."""
        ...


class SessionDesk:
    """Where one session asks the gateway (``realtime.session.Desk``).

    :param current: returns the services in force, which a reload replaces.
    """

    __slots__ = ("_calls", "_current")

    def __init__(self, current: Callable[[], Sessions], calls: CallMaker) -> None:
        self._current = current
        self._calls = calls

    def opening(self, model: str) -> Call:
        """The call that opens the session."""
        return self._calls.opening(model)

    def send(self, call: Call) -> Reply:
        """Open the session at an upstream."""
        return self._current().opening.send(call)

    def open(self, model: str) -> Reply:
        """Open the session, on a thread that serves no call afterwards."""
        try:
            return self.send(self.opening(model))
        finally:
            self._current().inflight.release_thread()

    def admit(self, model: str, fields: Mapping[str, msgspec.Raw], upstream: str) -> Turn:
        from ..realtime.turns import Turn

        call = self._calls.response(model, fields, upstream)
        return Turn(self._current().responses.send(call))
