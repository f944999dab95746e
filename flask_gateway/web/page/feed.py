"""Sends live figures to open pages. One thread renders once a second for all of them, while there are any.

A subscriber is a reply whose source has a channel, so the worker hands it to the relay like any stream, and
no thread is held for it. The bytes are the same for all admins: no form, no button and no token is in them.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ...model.call import Usage
from ...model.errors import GatewayError
from ...model.reply import Reply
from ...model.transcript import Passing
from ...reactor.socket_io import is_readable

log = logging.getLogger(__name__)

#: Between two renderings, and how long one subscription lasts, seconds. Then the page asks again.
PERIOD, LONGEST = 1.0, 300.0
#: The most subscribers of a feed in a worker.
MOST = 100


class FeedFull(Exception):
    """The feed has as many subscribers as it may have."""


class Feed:
    """Renders one topic for its subscribers. Any thread may call it.

    :param render: returns the HTML of this moment.
    :param over: whether the feed ends, because the process stops.
    """

    def __init__(self, render: Callable[[], str], over: Callable[[], bool], period: float = PERIOD) -> None:
        self._render = render
        self._over = over
        self._period = period
        self._lock = threading.Lock()
        self._lines: set[FeedLine] = set()
        self._running = False
        #: The last event, and whether there are no more.
        self.latest = b""
        self.ended = False

    def subscribe(self) -> FeedLine:
        """Add a subscriber, and begin to render if it is the first.

        :raises FeedFull: there are too many.
        """
        with self._lock:
            if len(self._lines) >= MOST:
                raise FeedFull
            line = FeedLine(self, time.monotonic() + LONGEST)
            self._lines.add(line)
            begin, self._running = not self._running, True
        if begin:
            threading.Thread(target=self._run, name="page", daemon=True).start()
        return line

    def leave(self, line: FeedLine) -> None:
        """Remove a subscriber. May be called again."""
        with self._lock:
            if line in self._lines:
                self._lines.remove(line)
                os.close(line.bell)

    def __len__(self) -> int:
        return len(self._lines)

    def _run(self) -> None:
        while self._tick():
            time.sleep(self._period)

    def _tick(self) -> bool:
        """Render once, and ring all subscribers. ``False`` if there are none."""
        try:
            self.ended = self._over()
            self.latest = b"data: " + msgspec.json.encode(self._render()) + b"\n\n"
        except Exception:  # the page says how old its figures are, and the next second may be well
            log.exception("the figures of the page cannot be rendered")
            self.latest = b": no figures now\n\n"
        with self._lock:
            for line in self._lines:
                with suppress(BlockingIOError):
                    os.eventfd_write(line.bell, 1)
            self._running = bool(self._lines)
            return self._running


class FeedLine:
    """One subscriber's source (a ``model.source.Source``), which is its own channel. A slow subscriber misses
    figures and never queues them."""

    patience = math.inf
    holds = False

    def __init__(self, feed: Feed, until: float) -> None:
        self._feed = feed
        self._until = until
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def channel(self) -> FeedLine:
        return self

    def fileno(self) -> int:
        return self.bell

    def receive(self) -> bytes | None:
        """The latest figures; ``None`` if there are none since the last call; ``b""`` at the end."""
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            return None
        if self._feed.ended or time.monotonic() > self._until:
            return b""
        return self._feed.latest

    def read(self) -> bytes:
        """Wait for figures, for servers without the relay."""
        while True:
            is_readable(self.bell, 1.0)
            if (data := self.receive()) is not None:
                return data

    def unblock(self) -> None:
        """Nothing: it never blocks."""

    def expire(self) -> None:
        """Nothing: it may be silent for ever."""

    def release(self) -> None:
        self._feed.leave(self)

    def close(self) -> None:
        self._feed.leave(self)


class FiguresTranscript(Passing):
    """Passes all bytes of a feed (a ``model.transcript.Transcript``)."""

    usage: Usage | None = None
    content_type = "text/event-stream"
    ping = b": still here\n\n"

    def cut(self, error: GatewayError) -> bytes:
        return b""


def reply_of(line: FeedLine) -> Reply:
    """The answer to a subscriber."""
    return Reply(line, FiguresTranscript(), "")
