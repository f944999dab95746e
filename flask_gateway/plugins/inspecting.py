"""Has plugins inspect the answers of the service within (a ``protocols.Service``)."""

from __future__ import annotations

from ..model.call import Call
from ..model.protocols import Service
from ..model.reply import Reply
from .inspected import inspected
from .inspections import Inspections, open_all


class InspectingService:
    """Wraps the service that asks upstreams and the cache: also a kept answer is inspected."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service

    def send(self, call: Call) -> Reply:
        """:raises GatewayError: a plugin blocks the answer, or it failed and fails closed."""
        if call.plugins is None:
            return self._service.send(call)
        inspections = open_all(call, call.plugins)
        reply = self._service.send(call)
        if inspections is not None:
            _inspect(call, reply, inspections)
        return reply


def _inspect(call: Call, reply: Reply, inspections: Inspections) -> None:
    """Put the inspections around the reply, and wait for the first text that passes them."""
    try:
        transcript = inspected(call, reply.transcript, inspections)
        if transcript is None:
            inspections.note()
            return
        reply.on_settled(inspections.settle)
        reply.retell(transcript)
    except BaseException as error:
        reply.fail(error)
        raise
    reply.prime()
    inspections.note()
