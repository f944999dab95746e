"""Lets equal requests that are in flight at once share one answer (single flight, in one process)."""

from __future__ import annotations

import threading

from .entry import KeptAnswer

#: The most requests that wait for one. Each holds a thread.
FOLLOWERS = 4


class Flight:
    """A request that others wait for. :ivar entry: its answer; ``None`` if it has none to share."""

    def __init__(self) -> None:
        self.entry: KeptAnswer | None = None
        self.followers = 0
        self._landed = threading.Event()

    def wait(self, seconds: float) -> KeptAnswer | None:
        """Wait for its answer, so long at most."""
        self._landed.wait(seconds)
        return self.entry

    def land(self, entry: KeptAnswer | None) -> None:
        """End it. A failure is not shared: those who wait ask for themselves."""
        self.entry = entry
        self._landed.set()


class Flights:
    """The requests in flight, by the keys of their answers. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[bytes, Flight] = {}

    def join(self, key: bytes) -> tuple[Flight | None, bool]:
        """The flight of that key, and whether the request leads it; ``None`` if enough wait already."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight()
                return flight, True
            if flight.followers >= FOLLOWERS:
                return None, False
            flight.followers += 1
            return flight, False

    def land(self, key: bytes, flight: Flight, entry: KeptAnswer | None) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.land(entry)
