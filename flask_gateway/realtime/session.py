"""Decides what may pass in a WebSocket session, and counts its responses. It uses no socket and no clock.

Each response is a call of its own (``turns.py``): one that the caller asks for is admitted before the event
that asks passes. One that the upstream begins by itself, as after speech, is admitted when it begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from ..model.call import Operation
from ..model.errors import GatewayError, InvalidField, TooManyConcurrent, UpstreamError
from ..model.large_json import SLICE
from ..model.reply import Reply
from ..model.source import Run
from .events import (
    CREATE,
    CREATED,
    DONE,
    ERROR,
    UPDATE,
    event_of,
    failed_event,
    fields_of,
    names_model,
    response_of,
    text_of,
    with_model,
)
from .frames import BINARY, TEXT, Message, frame
from .turns import Turn

#: The most responses of a session that have not ended.
MOST_TURNS = 32


class Desk(Protocol):
    """Where a session asks the gateway. Its methods may block."""

    def open(self, model: str) -> Reply:
        """Open a session at an upstream of the model. :raises GatewayError: none is possible."""
        ...

    def admit(self, model: str, fields: Mapping[str, msgspec.Raw], upstream: str) -> Turn:
        """Admit a response. :raises GatewayError: a guard refuses it."""
        ...


class Decision(NamedTuple):
    """The bytes that pass to the upstream instead of a caller's message.

    :param turn: the response that they ask for. :param reply: they open the session, which is this.
    """

    data: bytes
    turn: Turn | None = None
    reply: Reply | None = None


def _at_once(work: Callable[[], None]) -> None:
    work()


class LiveSession:
    """One session. :param model: the caller's name of it; empty until the first response names one."""

    __slots__ = (
        *("_active", "_asked", "_desk", "_early", "_prompt", "_unasked"),
        *("asked_model", "model", "operation", "run", "upstream"),
    )

    def __init__(self, desk: Desk, operation: Operation, model: str) -> None:
        self._desk = desk
        self.operation = operation
        self.model = model
        #: The upstream, and its name for the model; empty until the session is open.
        self.upstream = self.asked_model = ""
        #: Runs the settling of responses, which may block.
        self.run: Run = _at_once
        #: Responses that were asked for and have not begun, and those that have, by their ids.
        self._asked: deque[Turn] = deque()
        self._active: dict[str, Turn] = {}
        #: Responses that began unasked and await their admission, and the last events of those that ended.
        self._unasked: set[str] = set()
        self._early: dict[str, bytes] = {}
        #: The tokens of the last prompt.
        self._prompt = 0

    @property
    def is_quiet(self) -> bool:
        """Whether no response is awaited."""
        return not (self._asked or self._active or self._unasked)

    # ---------------------------------------------------------------- what the caller says

    def decides(self, message: Message) -> bool:
        """Whether a message may pass only after :meth:`decide`, which may block or take long."""
        if message.opcode not in (TEXT, BINARY):
            return False
        if len(message.payload) > SLICE or not self.model:
            return True
        kind = event_of(message.payload).type
        return kind == CREATE or (kind == UPDATE and self.operation is Operation.REALTIME)

    def decide(self, message: Message) -> Decision:
        """Return what passes instead of the message. A thread calls it, and no two at once.

        :raises GatewayError: it may not pass.
        """
        fields = fields_of(message.payload)
        creates = text_of(fields.get("type")) == CREATE
        if self.operation is Operation.REALTIME:
            return self._in_realtime(message, fields, creates=creates)
        if creates:
            return self._in_responses(message, fields)
        if not self.model:
            raise InvalidField(f"The first event must be '{CREATE}'.", param="type")
        return Decision(message.raw)

    def _in_realtime(self, message: Message, fields: dict[str, msgspec.Raw], *, creates: bool) -> Decision:
        naming = names_model(fields, self.model)
        turn = self._admitted(self.model, {}, fields) if creates else None
        if naming is None or self.asked_model == self.model:
            return Decision(message.raw, turn)
        return Decision(frame(TEXT, with_model(fields, naming, self.asked_model), masked=True), turn)

    def _in_responses(self, message: Message, fields: dict[str, msgspec.Raw]) -> Decision:
        model = text_of(fields.get("model"))
        if not model:
            raise InvalidField(f"The event '{CREATE}' has to name a model.", param="model")
        reply = None if self.upstream else self._desk.open(model)
        if reply is not None:
            self.opened(reply)
        try:
            body = {name: value for name, value in fields.items() if name != "type"}
            turn = self._admitted(model, body, fields)
        except BaseException:
            if reply is not None:
                self.upstream = ""
                reply.close()
            raise
        self.model = model
        if turn.call.model == model and turn.call.fields == body:
            return Decision(message.raw, turn, reply)
        sent = with_model({**turn.call.fields, "type": fields["type"]}, "", turn.call.model)
        return Decision(frame(TEXT, sent, masked=True), turn, reply)

    def opened(self, reply: Reply) -> None:
        """Note the upstream of the session."""
        self.upstream, self.asked_model = reply.upstream, reply.model or ""

    def _admitted(
        self, model: str, body: Mapping[str, msgspec.Raw], fields: Mapping[str, msgspec.Raw]
    ) -> Turn:
        if len(self._asked) + len(self._active) + len(self._unasked) >= MOST_TURNS:
            raise TooManyConcurrent(f"This session awaits {MOST_TURNS} responses already. Wait for one.")
        turn = self._desk.admit(model, body, self.upstream)
        turn.told.prompt = self._prompt
        turn.event_id = text_of(fields.get("event_id"))
        return turn

    def decided(self, decision: Decision) -> None:
        """Note that the decision is about to pass."""
        if decision.turn is not None:
            self._asked.append(decision.turn)

    # ---------------------------------------------------------------- what the upstream says

    def upstream_said(self, payload: bytes) -> str | None:
        """Count a message. Return the id of a response that began unasked and has to be admitted."""
        event = event_of(payload)
        if event.text:
            for turn in self._active.values():
                turn.told.tally.add(event.text)
        elif event.type == CREATED:
            return self._begun(response_of(payload).response.id)
        elif event.type in DONE:
            return self._ended(payload)
        elif event.type == ERROR:
            self._refused(failed_event(payload))
        return None

    def _begun(self, name: str) -> str | None:
        if self._asked:
            self._active[name] = self._asked.popleft()
            return None
        if name in self._active or name in self._unasked:
            return None
        self._unasked.add(name)
        return name

    def _ended(self, payload: bytes) -> str | None:
        name = response_of(payload).response.id
        turn = self._active.pop(name, None)
        if turn is None and name in self._unasked:
            self._early[name] = payload
            return None
        if turn is None and self._begun(name) is not None:  # its beginning was not seen
            self._early[name] = payload
            return name
        turn = turn or self._active.pop(name)
        self._settle(turn, payload)
        return None

    def _settle(self, turn: Turn, payload: bytes) -> None:
        turn.told.reported = usage = response_of(payload).usage
        if usage is not None:
            self._prompt = usage.prompt_tokens
        turn.end(self.run)

    def _refused(self, event_id: str | None) -> None:
        """An upstream's error ends the response that was asked for and has not begun, if it is about one."""
        for turn in self._asked:
            if event_id is None or turn.event_id == event_id:
                self._asked.remove(turn)
                turn.told.refused = True
                turn.end(
                    self.run,
                    UpstreamError("The upstream refused to begin the response, with an error event."),
                )
                return

    def admit_unasked(self) -> Turn:
        """Admit a response that the upstream began by itself. A thread calls it.

        :raises GatewayError: a guard refuses it.
        """
        return self._admitted(self.model, {}, {})

    def admitted(self, name: str, turn: Turn) -> None:
        """Note the admission of a response that began unasked. It may have ended meanwhile."""
        self._unasked.discard(name)
        payload = self._early.pop(name, None)
        if payload is None:
            self._active[name] = turn
        else:
            self._settle(turn, payload)

    # ---------------------------------------------------------------- the end

    def end(self, error: GatewayError) -> None:
        """Settle the responses that have not ended."""
        for turn in (*self._asked, *self._active.values()):
            turn.end(self.run, error)
        self._asked.clear()
        self._active.clear()
        self._unasked.clear()
        self.run = _at_once
