"""Defines what something else may add to a gateway: guards, wrappers and observers, each in a stated order.

A call meets them from the outside in::

    record          the gateway's log and metrics, then ``observers``, after every permit has settled
    ledger          where a data directory is set: the lines that end a call, after every permit has settled
    limits          calls in flight, calls of the key, requests of the key, then ``guards``, then the ledger's
    ``wrappers``    the first is the outermost
    buffered streams, affinity, dispatcher, and for each upstream its breaker and limits

An empty list costs a call nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config.schema import Settings
from ..model.protocols import Guard, Service
from ..state.store import Store
from ..telemetry.request_record import Observer

#: Returns a service around the given one. It sees only calls that every guard has admitted.
Wrapper = Callable[[Service], Service]


class Extensions(NamedTuple):
    """The additions to one gateway.

    :param guards: asked in this order, after the gateway's own limits. If one refuses, all permits before it
        are cancelled.
    :param wrappers: around the service; the first is the outermost.
    :param observers: called with each record in this order. An exception of theirs is logged and suppressed.
    """

    guards: tuple[Guard, ...] = ()
    wrappers: tuple[Wrapper, ...] = ()
    observers: tuple[Observer, ...] = ()

    def wrap(self, service: Service) -> Service:
        for wrapper in reversed(self.wrappers):
            service = wrapper(service)
        return service


#: Makes the additions to a gateway from its settings and its store: after the fork, and at each reload.
Extend = Callable[[Settings, Store], Extensions]


def nothing(settings: Settings, store: Store) -> Extensions:
    """Add nothing."""
    return Extensions()
