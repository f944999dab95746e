"""Runs timers, detects hang-ups and polls sockets on one background thread per process.

A thread that serves a call blocks on its socket. It cannot watch a timer or a second socket meanwhile, so
the reactor does that for all threads. Each request to the reactor returns a :class:`Registration`. The
registration ends when its callback has been called or it was cancelled. Callbacks run on the reactor's
thread: they must be quick and must not block. The reactor logs the exceptions that they raise.
Work that blocks gets a thread of its own (:class:`Periodic`).
"""

from __future__ import annotations

from .loop import Reactor, Registration
from .periodic import Periodic

__all__ = ["Periodic", "Reactor", "Registration"]
