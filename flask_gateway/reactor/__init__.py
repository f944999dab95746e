"""The one background thread of a process: it rings at a moment, and tells when a peer has hung up.

Threads that serve calls wait for sockets, and who waits can look at no clock and at no other socket.
So one thread does that for all of them. Everything it is asked for is a :class:`Registration`, which is over
when it has been called or cancelled. What is called runs on the reactor's thread: it must be quick and
wait for nobody; what it raises is logged.
"""

from __future__ import annotations

from .loop import Reactor, Registration

__all__ = ["Reactor", "Registration"]
