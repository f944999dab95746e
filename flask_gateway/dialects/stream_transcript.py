"""Reads an answer that is a stream of events: is it good, is it complete, how many tokens did it cost.

Sans-IO (``model.transcript.Transcript``): a thread, a test or a selector loop may feed it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..model.call import Call, Usage
from ..model.errors import GatewayError, UpstreamCut, UpstreamError, UpstreamMalformed
from ..model.large_json import check_utf8, taking_turns
from ..model.source import Postponed
from .as_events import as_events
from .bulky import LARGE, for_reader, is_bulky, outlined
from .error_mapping import reported_error
from .redaction import Redaction, WatchfulTally
from .sse import MAX_LINES, MAX_SINGLE, EventSplitter, comment_of, data_of, name_of, named, without_id
from .stream_faults import named_error, part_lost, stream_cut, stream_malformed, text_error
from .table import dialect_of
from .unreadable_events import UnreadableEvents, is_half_object, repaired
from .usage import Tally, estimate, without_null_usage
from .values import error_in
from .withheld_events import WithheldEvents

#: At most this many events without content are held back until content follows. Further ones are dropped:
#: they say nothing new.
MAX_HELD_EVENTS = 64
#: A longer stream, bytes, is broken off: the upstream has run wild.
MAX_STREAM = 256 * 1024 * 1024

#: Called with whether more content may follow; ``None``: the answer is not complete after all.
Completed = Callable[[bool | None], None]


class StreamTranscript:
    """An answer in server-sent events, passed on event by event and unchanged.

    Nothing is passed on before the first event with content: after an error behind an empty opening the
    call can then still be retried. An answer is complete when the model says so: by a finish reason of each
    choice, or by the dialect's own last event. A closed socket does not make it complete.
    """

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_call",
        "_completed",
        "_dialect",
        "_held_bytes",
        "_held_events",
        "_hides_usage",
        "_lone_name",
        "_over",
        "_postponed",
        "_reader",
        "_redaction",
        "_splitter",
        "_unreadable",
        "_unsent",
        "_upstream",
        "_was_complete",
        "_withheld",
        "finished",
        "postpones",
        "ready",
    )

    def __init__(
        self,
        call: Call,
        upstream: str,
        *,
        hides_usage: bool = False,
        completed: Completed | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self.ready = self.finished = False
        self._unreadable = UnreadableEvents()
        self._bytes = self._held_events = self._held_bytes = 0
        self._dialect = dialect_of(call.operation)
        self._reader = self._dialect.reader(call)
        self._call = call
        self._upstream = upstream
        self._hides_usage = hides_usage
        self._completed = completed
        self._was_complete = False
        self._splitter = EventSplitter(self._dialect.max_event)
        #: The name of an event whose data follows only behind a blank line.
        self._lone_name = b""
        #: Whether the bytes are over. An event that lost its end is then reported as a cut.
        self._over = False
        #: Events that came in one read with a fault and before it. :meth:`cut` still passes them on.
        self._unsent = b""
        self._redaction = redaction
        self._withheld: WithheldEvents | None = None
        if redaction is not None:
            self._reader.tally = tally = WatchfulTally(redaction)
            self._withheld = WithheldEvents(tally)
        self.postpones = False
        #: Events that :meth:`catch_up` reads, and whether the bytes are over with them.
        self._postponed: tuple[list[bytes], bool] = ([], False)

    @property
    def dropped(self) -> int:
        """How many events were dropped because they could not be read."""
        return self._unreadable.dropped

    @property
    def complete(self) -> bool:
        return self._reader.complete

    @property
    def ping(self) -> bytes:
        return self._dialect.ping

    @property
    def begun(self) -> bool:
        """Whether the first content has come."""
        return self.ready

    @property
    def usage(self) -> Usage | None:
        """The reported usage, else an estimate of what was passed on; ``None`` before the first content."""
        reported, tally, fields = self._reader.reported, self._reader.tally, self._call.fields
        if reported:
            return reported.usage(lambda: estimate(fields, Tally()).prompt_tokens, lambda: tally.tokens)
        if reported.is_zero and self._reader.complete:
            return reported.complete()
        return estimate(fields, tally) if self.ready else None

    def feed(self, data: bytes) -> bytes:
        self._bytes += len(data)
        if self._bytes > MAX_STREAM:
            raise self._malformed(f"it is longer than {MAX_STREAM} bytes")
        payload = self._splitter.single_event(data)
        if payload is not None:
            if self._redaction is not None and data.find(self._redaction.mark) >= 0:
                data = self._redaction.redact(data)
                payload = data[len(b"data: ") : -2]
            return b"" if self.finished else self._pass_data(data, payload)
        try:
            events = self._splitter.feed(data)
        except UpstreamMalformed as error:
            return self._fail(self._malformed(error.message))
        # An event that began in an earlier read is the first.
        if events and len(events[0]) > LARGE and self.postpones:
            self._postpone(events)
        return self._pass_all(events)

    def _postpone(self, events: list[bytes], *, over: bool = False) -> None:
        self._postponed = events, over
        raise Postponed

    def catch_up(self) -> bytes:
        (events, over), self._postponed = self._postponed, ([], False)
        return self._pass_all(events, over=over)

    def end(self) -> bytes:
        self._over, rest = True, self._splitter.rest().rstrip(b"\r\n")
        # Data without its blank line is read. Half a comment, or half a field's name, is dropped.
        worth = rest and (data_of(rest) or rest.startswith((b"{", b"[", b"<", b"error:")))
        if worth and len(rest) > LARGE and self.postpones:
            self._postpone([rest], over=True)
        return self._pass_all([rest] if worth else [], over=True)

    def cut(self, error: GatewayError) -> bytes:
        return self.take_unsent() + self._dialect.error_event(error, self._reader)

    def take_unsent(self) -> bytes:
        """Return the events before a fault that came with it, once."""
        unsent, self._unsent = self._unsent, b""
        return unsent

    @property
    def counts_request(self) -> bool:
        """Whether :attr:`usage` counts the text of the request, which takes long if that is large."""
        return self._reader.reported.prompt is None

    def _pass_all(self, events: list[bytes], *, over: bool = False) -> bytes:
        committed, parts = self.ready, []
        try:
            with taking_turns(len(events[0]) if events else 0):
                for event in events:
                    parts.append(self._pass(event))
            if over:
                parts.append(self._close())
        except GatewayError:
            # A caller who has seen content also sees all events before the fault, however the bytes were cut.
            # For a caller who has seen nothing the call can still be retried, so nothing is kept.
            self._unsent = b"".join(parts) if committed else b""
            self.ready = committed
            raise
        return b"".join(parts)

    def _close(self) -> bytes:
        """Return the last bytes of the stream.

        :raises GatewayError: the answer is not complete.
        """
        if self.finished:
            return b""
        if not self._reader.complete:
            if self._bytes and not (self._held_events or self.dropped):
                raise self._malformed("it has no events in it")
            raise self._cut("closed the stream before the answer was complete")
        return self._ending()

    def _pass(self, event: bytes) -> bytes:
        """Return the bytes that the caller sees of this event."""
        if self.finished:
            return b""
        if self._redaction is not None and event.find(self._redaction.mark) >= 0:
            event = self._redaction.redact(event)
        # The usual event that came together with others. `find` takes half as long as `in`.
        plain = event[:6] == b"data: " and event.find(b"\n") < 0 and event.find(b"\r") < 0
        if plain and not self._lone_name and len(event) <= MAX_SINGLE:
            return self._pass_data(event + b"\n\n", event[6:])
        many_lines = len(event) > MAX_LINES and event.count(b"\n") + event.count(b"\r") > MAX_LINES
        if many_lines:
            if event.startswith((b"{", b"[")):
                return self._pass_document(event)
            return self._fail(self._malformed(f"an event has more than {MAX_LINES} lines"))
        pair = named(event)
        name, data = pair if pair is not None else (b"", data_of(event))
        if data is None:
            return self._pass_without_data(event)
        has_other_lines = len(event) > len(data) + len(b"data: ")
        if pair is None and (self._lone_name or has_other_lines):
            name, event = name_of(event) or self._lone_name, without_id(event)
        self._lone_name = b""
        if name and name.lower() == b"error":
            return self._fail(named_error(self._upstream, data))
        if is_bulky(data):
            data = for_reader(data, self._call, self._reader.tally)
        return self._pass_data(event + b"\n\n", data)

    def _pass_data(self, event: bytes, data: bytes) -> bytes:
        """:param event: with its blank line. :param data: its data."""
        if self._unreadable.half and not self._unreadable.is_repeated_by(data):
            raise part_lost(self._upstream)
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            return self._done()
        reader = self._reader
        try:
            data.isascii() or check_utf8(data)  # the JSON decoder does not check what it skips
            content = reader.read(data)
        except (ValueError, RecursionError):
            mended = self._mended(event, data)
            if mended is None:
                return b""
            event, data, content = mended
        if reader.error is not None:
            return self._fail(reported_error(reader.error, self._upstream))
        if not self.ready and not self._commit(len(event), content):
            return b""
        if reader.complete or self._was_complete:
            self._note_completeness(content)
        if self._hides_usage and (reader.usage_only or reader.usage_null):
            event = without_null_usage(event[:-2], data) + b"\n\n" if reader.usage_null else b""
        withheld = self._withheld
        if withheld is not None and (withheld.tally.suspicious or withheld.held):
            return self._withhold(withheld, event)
        return event

    def _withhold(self, withheld: WithheldEvents, event: bytes) -> bytes:
        """Withhold an event while the text may become the key. Return the events that may pass now."""
        passes = withheld.add(event, last=self.finished)
        if passes is None:
            raise self._malformed("it spells out the gateway's own key")
        return passes

    def _commit(self, size: int, content: bool) -> bool:
        """Whether to keep this event; until the first content it is held back. It is dropped otherwise."""
        self._held_events += 1
        self._held_bytes += size
        # An opening event that repeats a long request must not be lost, so its size commits the answer.
        self.ready = content or self._held_bytes > self._dialect.max_event
        return self.ready or self._held_events <= MAX_HELD_EVENTS

    def _note_completeness(self, content: bool) -> None:
        if self._reader.complete:
            self._ends(content)
        else:
            self._goes_on()

    def _ends(self, content: bool) -> None:
        """Note that the answer is complete by its events. Some servers send a finish reason too early."""
        if self._reader.finished or not self._dialect.ending:
            self.finished = True
        elif self._completed is not None:
            more = content and self._reader.ended_in_content
            if more or not self._was_complete:
                self._completed(more)
        self._was_complete = True

    def _goes_on(self) -> None:
        """Note that another choice has begun after the answer was complete."""
        self._was_complete = False
        if self._completed is not None:
            self._completed(None)

    def _mended(self, event: bytes, data: bytes) -> tuple[bytes, bytes, bool] | None:
        """Repair an event that could not be read. Return it, its data, and whether it carries content."""
        if not data.strip():
            return None  # nothing is lost with it
        mended = repaired(event, data)
        if mended is not None:
            event, data, document = mended
            try:
                return event, data, self._reader.read_object(document)
            except (ValueError, RecursionError):
                pass
        goes_on = is_half_object(data) and not (self._reader.complete or self._over)
        if goes_on and not self.ready:
            raise part_lost(self._upstream)
        self._unreadable.drop(data, may_come_again=goes_on)
        return None

    def _pass_without_data(self, event: bytes) -> bytes:
        """Read a comment, a name without data, or bytes that are no event."""
        if event.startswith((b"{", b"[")):
            return self._pass_document(event)
        error = text_error(self._upstream, event)
        if error is not None:
            return self._fail(error)
        name = name_of(event)
        if name:
            self._lone_name = name
            self._splitter.leave_fast_path()
        return comment_of(event) if self.ready else b""

    def _pass_document(self, data: bytes) -> bytes:
        """Read JSON where events were asked for: an error, or the answer of a server that does not stream."""
        document: Any = None
        try:
            document = outlined(data) if is_bulky(data) else msgspec.json.decode(data)
        except (ValueError, RecursionError):
            if not self.ready:
                raise self._malformed("a JSON document came that cannot be read, and no events") from None
            self._unreadable.dropped += 1
        error = error_in(document)
        if error is not None:
            return self._fail(reported_error(error, self._upstream))
        events = as_events(document, self._call.operation, with_usage=not self._hides_usage)
        if document is not None and not events:
            return self._fail(self._malformed("a JSON document came, and no events"))
        if self._hides_usage and isinstance(document, dict):
            self._reader.reported.add_document(document)
        return b"".join([self._pass(event) for event in events])

    def _fail(self, error: UpstreamError) -> bytes:
        """Break the stream off. An error behind a complete answer ends it as usual."""
        if self._was_complete:
            return self._done()
        raise error

    def _done(self) -> bytes:
        # Some servers send no finish reason. But [DONE] without any content, or behind text that was no JSON
        # and so may have been an error, is no answer.
        text_lost = self._unreadable.lost_text
        if not (self._reader.complete or (self.ready and self._reader.may_end and not text_lost)):
            missing = "before the answer was complete" if self.ready else "without an answer in it"
            raise self._cut(f"ended the stream {missing}")
        return self._ending()

    def _ending(self) -> bytes:
        self.ready = self.finished = True
        return (self._withheld.held if self._withheld else b"") + self._dialect.ending

    def _cut(self, what: str) -> UpstreamCut:
        return stream_cut(self._upstream, what)

    def _malformed(self, what: str) -> UpstreamMalformed:
        return stream_malformed(self._upstream, what)
