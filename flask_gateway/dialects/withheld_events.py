"""Withholds events while their text may become the gateway's own key (:mod:`.redaction`)."""

from __future__ import annotations

from .redaction import WatchfulTally

#: Events whose text may be the beginning of a key are held back up to this size, bytes.
MAX_WITHHELD = 64 * 1024


class WithheldEvents:
    """The events of one stream that wait for what follows.

    :ivar tally: notices the key in the text of the stream, across its events.
    :ivar held: the events as bytes, empty when none waits.
    """

    __slots__ = ("held", "tally")

    def __init__(self, tally: WatchfulTally) -> None:
        self.tally = tally
        self.held = b""

    def add(self, event: bytes, *, last: bool) -> bytes | None:
        """Add an event. Return the events that may pass now; ``None``: the text contains the key.

        :param last: no further event follows.
        """
        if self.tally.spelled:
            self.held = b""
            return None
        self.held += event
        if self.tally.suspicious and not last and len(self.held) <= MAX_WITHHELD:
            return b""
        return self.release()

    def release(self) -> bytes:
        """Return all events that wait."""
        event, self.held = self.held, b""
        return event
