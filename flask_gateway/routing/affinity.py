"""Sends calls that refer to an upstream's state where that state is, and nowhere else.

A response, a conversation or a file is known to one upstream alone. So a call that refers to one is pinned
to that upstream (``Call.pinned``): it is not balanced and does not fail over. Where several upstreams might
be asked and the right one is not known, the call is refused by the name of the field.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from ..model.call import Call, Operation, Outcome
from ..model.errors import InvalidField, StateNotHere
from ..model.protocols import Service
from ..model.reply import Reply
from .references import MAX_IDS, Reference, asks_background, ids_in_body, ids_in_events, is_kept, references

log = logging.getLogger(__name__)

#: The upstreams where a call may be asked, by tier.
Upstreams = Callable[[Call], Sequence[Sequence[str]]]

#: The operations whose requests may refer to such state.
_REFERRING = frozenset({Operation.CHAT, Operation.RESPONSE})


class OriginLookup(Protocol):
    """What is known of the ids of what upstreams have made."""

    def remember(self, ids: Iterable[str], upstream: str) -> None: ...

    def upstream_of(self, name: str, upstreams: Iterable[str]) -> str | None: ...


class Affinity:
    """A service in front of the dispatcher (``core.Service``).

    :param upstreams: tells where a call may be asked. :param origins: what is known of ids.
    :param several: whether there is more than one upstream; else nothing is to be found or remembered.
    """

    def __init__(
        self, service: Service, upstreams: Upstreams, origins: OriginLookup, *, several: bool
    ) -> None:
        self.name = service.name
        self._service = service
        self._upstreams = upstreams
        self._origins = origins
        self._several = several

    def send(self, call: Call) -> Reply:
        response = call.operation is Operation.RESPONSE
        if response and asks_background(call.fields):
            raise InvalidField(
                "'background' is not offered here: the response could not be fetched. Leave it out, and "
                "stream the answer if it takes long.",
                param="background",
            )
        if not (self._several and call.operation in _REFERRING):
            return self._service.send(call)
        reply = self._service.send(self._pinned(call))
        if response and is_kept(call.fields):
            self._learn(reply, call)
        return reply

    def _pinned(self, call: Call) -> Call:
        """The call for the one upstream that holds what it refers to.

        :raises StateNotHere: it is not known which one does.
        """
        found = list(references(call.operation, call.fields))
        if not found:
            return call
        tiers = self._upstreams(call)
        possible = list(dict.fromkeys(name for tier in tiers for name in tier))
        if len(possible) == 1:
            return call
        return msgspec.structs.replace(call, pinned=self._holder(found, possible, tiers[0]))

    def _holder(self, found: list[Reference], possible: list[str], first: Sequence[str]) -> str:
        """Return the one upstream of several that keeps what is referred to.

        An id that is not known is taken to lie where those lie that are.
        """
        learned = [one for one in found if one.learned]
        known: dict[str, Reference] = {}
        for one in learned:
            upstream = self._origins.upstream_of(one.id, possible)
            if upstream is not None:
                known.setdefault(upstream, one)
        if len(known) == 1:
            return next(iter(known))
        if known:
            one, other = list(known.values())[:2]
            raise StateNotHere(
                f"{_what(one)} and {_what(other)} are kept by two upstreams. {_ADVICE}", other.param
            )
        if not learned and len(set(first)) == 1:
            return first[0]  # files are mostly brought to the upstream that is always asked first
        one = (learned or found)[0]
        raise StateNotHere(
            f"{_what(one)} is kept by one upstream of several, and it is not known by which. {_ADVICE}",
            one.param,
        )

    def _learn(self, reply: Reply, call: Call) -> None:
        """Remember what the answer may be referred to by."""
        if not reply.upstream:
            return  # a stream that is still to come, whose upstream nobody knows yet
        if not call.stream:
            self._remember(ids_in_body(reply.begun), reply.upstream)
            return
        # The first event names the response. A caller may refer to it as soon as it has seen that.
        self._remember(ids_in_events(reply.begun), reply.upstream)
        tap = _Tap(reply.transcript)
        reply.transcript = tap

        def closed(outcome: Outcome) -> None:
            self._remember(tap.ids, reply.upstream)

        reply.on_close(closed)

    def _remember(self, ids: list[str], upstream: str) -> None:
        try:
            self._origins.remember(dict.fromkeys(ids), upstream)
        except Exception:
            log.exception("what upstream '%s' has made could not be remembered", upstream)


def _what(one: Reference) -> str:
    return f"What '{one.param}' refers to" + (f" ('{one.id[:100]}')" if one.id else "")


_ADVICE = "Send the whole input instead, or name a model that is asked at one upstream only."


class _Tap:
    """A transcript (``reply.Transcript``) that notes the ids in what passes."""

    def __init__(self, transcript: Any) -> None:
        self._transcript = transcript
        self.ids: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transcript, name)

    def feed(self, data: bytes) -> bytes:
        return self._noted(self._transcript.feed(data))

    def end(self) -> bytes:
        return self._noted(self._transcript.end())

    def _noted(self, out: bytes) -> bytes:
        if len(self.ids) < MAX_IDS:
            self.ids += ids_in_events(out)
        return out
