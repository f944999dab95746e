"""Sends a call that refers to stored state to the upstream that holds it, and to no other.

Only one upstream knows a stored response, conversation or file. So a call that refers to one is pinned to
that upstream (``Call.pinned``): it is not balanced and does not fail over. If several upstreams are possible
and the right one is unknown, the call is refused, and the error names the field.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from ..model.call import Call, Operation, Outcome
from ..model.errors import InvalidField, ResponseNotHere, StateNotHere
from ..model.protocols import Service
from ..model.reply import Reply
from ..model.transcript import Around
from .references import MAX_IDS, Reference, ids_in_body, ids_in_events, is_kept, references

log = logging.getLogger(__name__)

#: Returns the names of the upstreams that may serve a call, by tier.
Upstreams = Callable[[Call], Sequence[Sequence[str]]]

#: The operations whose requests may refer to stored state.
_REFERRING = frozenset(
    {Operation.CHAT, Operation.RESPONSE, Operation.MESSAGE, Operation.IMAGE_EDIT, Operation.GENERATE}
)


class OriginLookup(Protocol):
    """Maps ids of stored objects to the upstreams that made them (``origins.py``)."""

    def remember(self, ids: Iterable[str], upstream: str) -> None: ...

    def upstream_of(self, name: str, upstreams: Iterable[str]) -> str | None: ...


class Affinity:
    """A service in front of the dispatcher (``protocols.Service``).

    :param upstreams: returns the upstreams that may serve a call. :param origins: remembers who made what.
    :param several: whether there is more than one upstream; with a single one there is nothing to decide.
    :param storing: the upstreams whose stored responses can be fetched.
    """

    def __init__(
        self,
        service: Service,
        upstreams: Upstreams,
        origins: OriginLookup,
        *,
        several: bool,
        storing: Collection[str] = (),
    ) -> None:
        self.name = service.name
        self._service = service
        self._upstreams = upstreams
        self._origins = origins
        self._several = several
        self._storing = tuple(storing)

    def send(self, call: Call) -> Reply:
        if call.operation is Operation.STORED:
            return self._service.send(self._at_holder(call))
        if call.operation not in _REFERRING or call.direct is not None:
            return self._service.send(call)
        response = call.operation is Operation.RESPONSE
        if response and call.in_background:
            self._check_background(call)
        reply = self._service.send(self._pinned(call) if self._several else call)
        if response and is_kept(call.fields):
            self._remember_reply(reply, call)
        return reply

    def _at_holder(self, call: Call) -> Call:
        """A call about a stored response, pinned to the upstream that holds it.

        :raises ResponseNotHere: the gateway does not know that this key made it.
        """
        assert call.direct is not None
        holder = self._origins.upstream_of(_owned(call, call.direct.state), self._storing)
        if holder is None:
            raise ResponseNotHere(
                f"The response '{call.direct.state[:100]}' is not known here: this key has not made it "
                "through this gateway, or too long ago. Send the conversation again with a new call.",
                param="response_id",
            )
        return msgspec.structs.replace(call, pinned=holder)

    def _check_background(self, call: Call) -> None:
        """:raises InvalidField: the response could not be fetched."""
        possible = {name for tier in self._upstreams(call) for name in tier}
        if is_kept(call.fields) and not possible.isdisjoint(self._storing):
            return
        raise InvalidField(
            "'background' is offered only where the response can be fetched: from an upstream of the "
            "Responses API, and not with 'store': false. Leave it out, and stream a long answer.",
            param="background",
        )

    def _pinned(self, call: Call) -> Call:
        """The call, pinned to the upstream that holds what it refers to.

        :raises StateNotHere: the upstream is unknown.
        """
        referred = list(references(call.operation, call.fields))
        if not referred:
            return call
        tiers = self._upstreams(call)
        possible = list(dict.fromkeys(name for tier in tiers for name in tier))
        if len(possible) == 1:
            return call
        return msgspec.structs.replace(call, pinned=self._holder(referred, possible, tiers[0]))

    def _holder(self, referred: list[Reference], possible: list[str], first: Sequence[str]) -> str:
        """The upstream that holds the referenced state.

        If some ids are known and others are not, all are assumed to be at the same upstream.

        :param possible: all upstreams that may serve the call. :param first: those of its first tier.
        """
        learnable = [reference for reference in referred if reference.learned]
        known: dict[str, Reference] = {}
        for reference in learnable:
            upstream = self._origins.upstream_of(reference.id, possible)
            if upstream is not None:
                known.setdefault(upstream, reference)
        if len(known) == 1:
            return next(iter(known))
        if known:
            first_kept, other = list(known.values())[:2]
            raise StateNotHere(
                f"{_what(first_kept)} and {_what(other)} are kept by two upstreams. {_ADVICE}", other.param
            )
        if not learnable and len(set(first)) == 1:
            return first[0]  # callers usually upload files to the upstream that is always asked first
        unknown = (learnable or referred)[0]
        raise StateNotHere(
            f"{_what(unknown)} is kept by one of several upstreams, and the gateway does not know which. "
            f"{_ADVICE}",
            unknown.param,
        )

    def _remember_reply(self, reply: Reply, call: Call) -> None:
        """Remember the ids by which later requests may refer to this reply."""
        if not reply.upstream:
            return  # a buffered stream, whose upstream is not known yet
        # The first event has the response's id. The caller may refer to it as soon as it has seen that.
        ids = ids_in_events(reply.begun) if call.stream else ids_in_body(reply.begun)
        if reply.upstream in self._storing:
            self._remember([_owned(call, ids[0])] if ids else [], reply.upstream)
        if not self._several:  # there is no other upstream to tell it from
            return
        self._remember(ids, reply.upstream)
        if not call.stream:
            return
        tap = _Tap(reply.transcript)
        reply.transcript = tap

        def closed(outcome: Outcome) -> None:
            self._remember(tap.ids, reply.upstream)

        reply.on_close(closed)

    def _remember(self, ids: list[str], upstream: str) -> None:
        try:
            self._origins.remember(dict.fromkeys(ids), upstream)
        except Exception:  # the caller has its answer; only a later call suffers
            log.exception("could not remember which ids upstream '%s' has made", upstream)


def _owned(call: Call, response: str) -> str:
    """The name under which the key that made a response is remembered. Keys see their own responses only."""
    return f"{call.caller.id}/{response}"


def _what(reference: Reference) -> str:
    identifier = f" ('{reference.id[:100]}')" if reference.id else ""
    return f"The state that '{reference.param}' refers to{identifier}"


_ADVICE = "Send the whole input instead, or name a model that only one upstream serves."


class _Tap(Around[Any]):
    """Collects the ids in the passing stream."""

    def __init__(self, transcript: Any) -> None:
        super().__init__(transcript)
        self.ids: list[str] = []

    def feed(self, data: bytes) -> bytes:
        return self._noted(self._inner.feed(data))

    def end(self) -> bytes:
        return self._noted(self._inner.end())

    def catch_up(self) -> bytes:
        return self._noted(self._inner.catch_up())

    def _noted(self, out: bytes) -> bytes:
        if len(self.ids) < MAX_IDS:
            self.ids += ids_in_events(out)
        return out
