"""Writes log lines to standard error without blocking on its reader.

A pipe that nobody reads, a stopped terminal or a hanging disk would otherwise block each thread that logs.
Calls, settling and the stop of the process would wait with it. A line is written at once if the descriptor
accepts it. Otherwise it waits in a bounded queue for a writer thread. A full queue drops and counts lines.

Other processes share standard error, so ``O_NONBLOCK`` is never set on it. We reopen a pipe, a terminal or a
device through ``/proc``, and only our own file description is non-blocking. On a socket (journald's) a flag
of the system call does the same. A regular file accepts a line at once, unless its disk hangs: then only the
threads that already wait for it keep waiting. Where none of that works, only the writer thread writes.
"""

from __future__ import annotations

import atexit
import io
import os
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from select import POLLOUT, poll
from typing import TextIO

#: The longest line, bytes. A write up to PIPE_BUF (4096 on Linux) enters a pipe whole or not at all, so the
#: lines of several processes do not mix.
LONGEST = 4000
#: The size of the queue, bytes.
MOST_WAITING = 1 << 20
#: How long the end of a process waits for the queue, seconds.
LAST_WAIT = 0.5
#: How soon the writer thread tries again if ``poll`` does not help, seconds.
_AGAIN = 0.05
#: A disk that blocks a write for longer than this counts as hanging, seconds.
_SLOW = 0.1
_CUT = b"...\n"

#: Writes bytes and returns how many; raises ``BlockingIOError`` instead of blocking.
Send = Callable[[bytes], int]


class LineWriter:
    """Writes to one descriptor. Any thread may call it, also in a forked process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: Called with the number of lines just dropped.
        self.on_drop: Callable[[int], None] = lambda lines: None
        self._pid = os.getpid()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._unreported = 0
        self._room = threading.Condition()  # reentrant: a signal handler may log, too
        self._thread: threading.Thread | None = None
        self._send: Send | None = None
        self._of: tuple[int, int] | None = None
        self.reopen()

    def reopen(self) -> None:
        """Check which file the descriptor refers to now, after a rotation of the log."""
        try:
            file = os.fstat(self._descriptor)
        except OSError:  # standard error is closed
            return
        if (file.st_dev, file.st_ino) != self._of:
            self._of = file.st_dev, file.st_ino
            self._send = _nonblocking(self._descriptor, file.st_mode)

    def write(self, lines: bytes) -> None:
        """Write one or more whole lines: at once, later, or never."""
        if len(lines) <= LONGEST:
            self._write(lines)
            return
        for piece in _pieces(lines):
            self._write(piece)

    def flush(self, seconds: float = LAST_WAIT) -> None:
        """Wait until the queue is written, at most so many seconds."""
        if self._pid == os.getpid():
            with self._room:
                self._room.wait_for(lambda: not self._waiting, seconds)

    def _write(self, piece: bytes) -> None:
        if self._pid != os.getpid():
            self._forked()
        if not self._waiting and self._send is not None:
            try:
                sent = self._send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop(piece)
                return
            if sent == len(piece):
                return
            piece = piece[sent:]
        self._enqueue(piece)

    def _forked(self) -> None:
        """Drop the parent's queue, which the parent writes, and its thread, which a fork does not copy."""
        self._pid = os.getpid()
        self._waiting, self._size, self._unreported = deque(), 0, 0
        self._room = threading.Condition()
        self._thread = None

    def _enqueue(self, piece: bytes) -> None:
        with self._room:
            fits = self._size + len(piece) <= MOST_WAITING
            if fits:
                self._waiting.append(piece)
                self._size += len(piece)
                self._room.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the system starts no thread now; the next line tries again
                    self._thread = None
        if not fits:
            self._drop(piece)

    def _drop(self, piece: bytes) -> None:
        lines = piece.count(b"\n")
        self._unreported += lines
        with suppress(Exception):  # the counter may fail; the log must not
            self.on_drop(lines)

    # ---------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while True:
            with self._room:
                self._room.wait_for(lambda: self._waiting)
                piece = self._waiting[0]
            rest = self._write_waiting(piece)
            with self._room:
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
                self._size += len(rest) - len(piece)
                if not self._waiting and self._unreported:
                    self._waiting.append(self._drop_notice())
                    self._size += len(self._waiting[0])
                self._room.notify_all()

    def _drop_notice(self) -> bytes:
        lost, self._unreported = self._unreported, 0
        text = (
            f"flask-gateway: warning: {lost} lines of the log were dropped (pid {self._pid}): nothing read it"
        )
        return text.encode() + b"\n"

    def _write_waiting(self, piece: bytes) -> bytes:
        """Wait until the descriptor is writable, and write. Returns the unwritten rest of the piece."""
        try:
            if self._send is None or isinstance(self._send, _File):
                return piece[os.write(self._descriptor, piece) :]
            writable = poll()
            writable.register(self._descriptor, POLLOUT)
            writable.poll(1000)
            return piece[self._send(piece) :]
        except BlockingIOError:
            time.sleep(_AGAIN)
            return piece
        except OSError:
            self._drop(piece)
            return b""


class _File:
    """Writes to a regular file, but refuses while another thread is blocked by the disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._began = 0.0

    def __call__(self, data: bytes) -> int:
        now = time.monotonic()
        if self._began and now - self._began > _SLOW:
            raise BlockingIOError
        self._began = now
        try:
            return os.write(self._descriptor, data)
        finally:
            self._began = 0.0


def _nonblocking(descriptor: int, mode: int) -> Send | None:
    """Make a non-blocking write that leaves other processes' descriptors alone; ``None`` if impossible."""
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    if stat.S_ISREG(mode):
        return _File(descriptor)
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    return lambda data: os.write(own, data)


def _pieces(lines: bytes) -> list[bytes]:
    """Group lines into pieces that a pipe accepts whole, and cut longer lines."""
    pieces = [b""]
    for line in lines.splitlines(keepends=True):
        if len(line) > LONGEST:
            line = line[: LONGEST - len(_CUT)] + _CUT
        if len(pieces[-1]) + len(line) > LONGEST:
            pieces.append(b"")
        pieces[-1] += line
    return [piece for piece in pieces if piece]


class _Stream(io.RawIOBase):
    """The raw stream under the replaced ``sys.stderr``."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data: object) -> int:
        lines = bytes(data)  # type: ignore[call-overload]
        self._writer.write(lines)
        return len(lines)


#: This process's standard error.
STDERR = LineWriter(2)
_installed: TextIO | None = None


def install() -> None:
    """Replace ``sys.stderr``, so that all output of this process and its forks is written this way."""
    global _installed
    sys.stderr.flush()
    raw = _Stream(STDERR)
    sys.stderr = _installed = io.TextIOWrapper(
        raw,  # type: ignore[type-var]  # raw streams do not buffer
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    atexit.register(STDERR.flush)


def is_plain() -> bool:
    """Whether ``sys.stderr`` still is standard error, and no test or library has replaced it."""
    return sys.stderr is _installed or sys.stderr is sys.__stderr__
