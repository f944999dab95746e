"""Keeps the state of several machines in Redis, in one round trip for a change with a Lua version.

Any change works: the store fetches the key, runs the change here, and stores the result if the value in Redis
is still the same. This takes two round trips, and more under contention. A frequent change also has a Lua
version (:class:`Scripted`), which Redis runs itself. Both write the same bytes, so they can be mixed.

No command is sent twice. After a timeout nobody knows whether Redis has run, or will run, the command. Local
state then answers the call, and in Redis it counts once or not at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import MaxConnectionsError, NoScriptError, RedisError
from redis.retry import Retry

from ..reactor import Periodic
from .contract import MAX_INTS, StoreBusy, StoreError, decode, encode, lifetime, monotonic, name_of
from .recent_reads import RecentReads
from .redis_addresses import pool_of
from .redis_scripts import FETCH, READ_ALL, SWAP, digest_of, together, twin_of
from .store import Change, StoreStatus, Value
from .together import StoreUpdate, TogetherRefused

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

PREFIX = b"flask_gateway:"

#: The timeout for connecting and for each answer, seconds. An outage costs a call at most both.
TIMEOUT = 0.05

#: How long a change without a Lua version retries under contention, seconds.
PATIENCE = 0.1

#: The period at which a process reads the keys that it watches, seconds: well within the 0.1 s that a read
#: is remembered.
WATCH_PERIOD = 0.05

#: After a failed read of the watched keys, the next one follows so much later, seconds.
_WATCH_PAUSE = 1.0

#: The most scripts that a process remembers to have sent.
_MOST_SENT = 1024

#: The interval between measurements of the offset between Redis's clock and ours, microseconds.
RESYNC = 10_000_000

_OPTIONS: dict[str, Any] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 0,
    "max_connections": 512,  # of one process; above it a call gets StoreBusy
    "protocol": 2,  # with the next line: no HELLO, so a new connection costs no extra round trip
    "driver_info": None,
}


class Scripted(Protocol[Answer_co]):
    """A change with a version in Lua, which must do exactly the same as the Python.

    ``script`` is the body of a Lua function. It may use ``now`` (µs), ``arguments`` (a table of numbers
    from 1 on), ``load()`` (a table of the value's numbers, or ``nil``), ``save(value)`` and ``forget()``. If
    it calls neither ``save`` nor ``forget``, the value stays. It returns a table of integers without ``nil``.
    The text must be the same for all instances; differences go into ``arguments``. Lua's numbers are doubles:
    integers are exact up to 2 to the 53rd, and ``/`` does not round.
    """

    script: str

    @property
    def arguments(self) -> tuple[float, ...]: ...

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, Answer_co]: ...

    def answer(self, ints: tuple[int, ...]) -> Answer_co:
        """The answer, from the table that the script returned."""
        ...


class _Sync(NamedTuple):
    """A clock comparison: our clock plus ``offset`` is Redis's, with an error up to half a ``round_trip``."""

    offset: int
    measured: int
    round_trip: int


class RedisStore:
    """State of all machines that share one Redis. All threads may use it; Redis makes updates atomic.

    Calls open connections as they need them. A forked process shares none.

    Every method but ``close`` raises :class:`StoreError` for any failure of Redis: away, slow, loading,
    read-only, out of memory, or refusing the credentials.

    :param remember: for how long a read may return this process's last read, seconds. Writes of others are
        hidden for that time. Its own updates are visible at once. Keys that are read often are watched.
    :param url: of ``redis_addresses.py``. Each new connection resolves a name in it without timeout, so
        an IP address is better.
    :param namespace: part of every key. Gateways with different namespaces share nothing.
    :raises ValueError: the URL cannot be parsed.
    """

    def __init__(self, url: str, remember: float = 0.0, namespace: str = "") -> None:
        self._prefix = PREFIX + (f"{namespace}/".encode() if namespace else b"")
        self._recent = RecentReads(remember)
        #: The keys that a thread reads all the time, in the order of their beginning.
        self._watched: tuple[bytes, ...] = ()
        self._watcher = Periodic("redis-reads", WATCH_PERIOD, self._keep_reading)
        self._watch_due = 0.0
        self._client = redis.Redis(connection_pool=pool_of(url, _OPTIONS))
        self._sync: _Sync | None = None
        #: The digests of the scripts that this process has sent, so that Redis should know them.
        self._sent: set[str] = set()

    def now(self) -> int:
        """Redis's ``TIME``, extrapolated with our own clock between measurements.

        The error is half the round trip of the measurement (25 ms at worst, usually below 1 ms) plus the
        drift in 10 s. If somebody sets the clock of Redis's machine, this clock steps too.
        """
        sync = self._sync
        if sync is None or monotonic() - sync.measured > RESYNC:
            sync = self._measure()
        return monotonic() + sync.offset

    def _measure(self) -> _Sync:
        sent = monotonic()
        seconds, micros = self._call("TIME")
        return self._compare(sent, int(seconds) * 1_000_000 + int(micros))

    def read(self, key: str) -> Value | None:
        name = self._prefix + name_of(key)
        read = self._recent.get(name)
        if read is not None:
            return read.value
        if name in self._watched:
            return self._read_all(self._watched)[name]
        asked, marks, values = self._recent.clock(), self._recent.begin((name,)), {}
        try:
            raw = self._call("GET", name)
            values[name] = None if raw is None else decode(raw)
        finally:
            self._recent.end(marks, values, asked)
        return values[name]

    def watch(self, *keys: str, lax: bool = False) -> None:
        """Keep keys in memory that calls read often, so that calls need no round trip for them.

        A thread reads all of them together. A read is at most 0.1 s old: where the thread is late, the call
        reads them itself.

        :param lax: a read may also hide this process's own updates for so long.
        """
        names = [self._prefix + name_of(key) for key in keys]
        if lax:
            self._recent.lax.update(names)
        new = [name for name in names if name not in self._watched]
        self._watched = (*self._watched, *new)[-MAX_INTS:]
        self._watcher.call_soon()
        self._watcher.start()

    def _keep_reading(self) -> None:
        if self._recent.clock() < self._watch_due:
            return
        try:
            self._read_all(self._watched)
            if self._sync is None or monotonic() - self._sync.measured > RESYNC - 1_000_000:
                self._measure()
        except StoreError:
            self._watch_due = self._recent.clock() + _WATCH_PAUSE

    def _read_all(self, names: Sequence[bytes]) -> dict[bytes, Value | None]:
        """Read keys in one round trip."""
        asked, marks = self._recent.clock(), self._recent.begin(names)
        values: dict[bytes, Value | None] = {}
        try:
            for name, raw in zip(names, self._call("MGET", *names), strict=True):
                values[name] = None if raw is None else decode(raw)
        finally:
            self._recent.end(marks, values, asked)
        return values

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """:raises StoreBusy: others kept changing this key. This update wrote nothing."""
        name = self._prefix + name_of(key)
        try:
            return self._update(name, change, ttl)
        finally:
            self._recent.forget((name,))

    def _update(self, name: bytes, change: Change[Answer], ttl: float) -> Answer:
        script = getattr(change, "script", None)
        if script is None:
            return self._swap(name, change, lifetime(ttl) // 1000)
        twin: Scripted[Answer] = change  # type: ignore[assignment]  # it has a ``script``
        sent = monotonic()
        reply = self._run(twin_of(script), name, lifetime(ttl) // 1000, *twin.arguments)
        self._compare(sent, reply[0])
        return twin.answer(tuple(reply[1:]))

    def update_together(self, steps: Sequence[StoreUpdate], *, admit: bool) -> list[Any] | TogetherRefused:
        """Make changes in one round trip (``together.Joining``).

        :raises StoreError: Redis fails. It is unknown whether it has made them.
        """
        names = [self._prefix + name_of(step.key) for step in steps]
        parts: list[float] = [int(admit)]
        for step in steps:
            arguments = step.change.arguments
            how = 2 if step.optional else int(step.refuses)
            parts += (lifetime(step.ttl) // 1000, how, len(arguments), *arguments)
        sent = monotonic()
        try:
            reply = self._run(together(tuple(step.change.script for step in steps)), names, *parts)
        finally:
            self._recent.forget(names)
        self._compare(sent, reply[0])
        if reply[1]:
            values = [None if raw is None else decode(raw) for raw in reply[3:]]
            made = [(steps[number - 1], tuple(ints)) for number, ints in reply[2]]
            return TogetherRefused(
                reply[0],
                {step.key: value for step, value in zip(steps, values, strict=True)},
                [(step, step.change.answer(ints)) for step, ints in made],
            )
        return [step.change.answer(tuple(ints)) for step, ints in zip(steps, reply[2:], strict=True)]

    def read_together(self, keys: Sequence[str]) -> tuple[int, dict[str, Value | None]]:
        """Read keys as they are now, in one round trip. Return the time, too."""
        now, *raws = self._run(READ_ALL, [self._prefix + name_of(key) for key in keys])
        values = [None if raw is None else decode(raw) for raw in raws]
        return now, dict(zip(keys, values, strict=True))

    def _swap(self, name: bytes, change: Change[Answer], milliseconds: int) -> Answer:
        deadline = time.monotonic() + PATIENCE
        now, raw = self._run(FETCH, name)
        while True:
            old = None if raw is None else decode(raw)
            new, answer = change(old, now)
            if new is old:
                return answer
            wanted = ("0", b"") if new is None else ("1", encode(new))
            expected = ("0", b"") if raw is None else ("1", raw)
            swapped, *current = self._run(SWAP, name, milliseconds, *expected, *wanted)
            if swapped:
                return answer
            if time.monotonic() > deadline:
                raise StoreBusy("others kept changing this key")
            now, raw = current

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        pattern = self._prefix + re.sub(rb"[][*?^\\-]", rb"\\\g<0>", prefix.encode()) + b"*"
        cursor, seen = 0, set()
        while True:
            cursor, names = self._call("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
            fresh = [name for name in names if name not in seen]  # Redis may show a key twice
            seen.update(fresh)
            values = self._call("MGET", *fresh) if fresh else ()
            for name, raw in zip(fresh, values, strict=True):
                value = None if raw is None else decode(raw)
                if value is not None:
                    yield name[len(self._prefix) :].decode(), value
            if not cursor:
                return

    def status(self) -> StoreStatus:
        """Always well: its errors are raised, and another store answers for it."""
        return StoreStatus()

    def close(self) -> None:
        self._watcher.stop()
        self._client.connection_pool.disconnect()

    # ------------------------------------------------------------ talking to Redis

    def _run(self, script: str, name: bytes | list[bytes], *arguments: float | str | bytes) -> Any:
        """Run a script. The first time it is sent whole, so that Redis knows it: that costs no other trip."""
        names = name if isinstance(name, list) else [name]
        digest = digest_of(script)
        if digest in self._sent:
            try:
                return self._call("EVALSHA", digest, len(names), *names, *arguments)
            except _Unknown:  # Redis has dropped the script; it ran nothing
                pass
        answer = self._call("EVAL", script, len(names), *names, *arguments)
        if len(self._sent) >= _MOST_SENT:
            self._sent = set()
        self._sent.add(digest)
        return answer

    def _call(self, *command: float | str | bytes) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except NoScriptError as error:
            raise _Unknown(str(error)) from error
        except MaxConnectionsError as error:
            raise StoreBusy("no more connections to Redis allowed") from error
        except (RedisError, OSError) as error:
            self._sent = set()  # another Redis may answer next, which knows none
            raise StoreError(f"Redis: {type(error).__name__}: {error}") from error

    def _compare(self, sent: int, theirs: int) -> _Sync:
        """Store the comparison if it has the shortest round trip of the last ten seconds."""
        received = monotonic()
        kept = self._sync
        fresh = _Sync(theirs - (sent + received) // 2, received, received - sent)
        if kept is None or received - kept.measured > RESYNC or fresh.round_trip <= kept.round_trip:
            self._sync = kept = fresh
        return kept


class _Unknown(StoreError):
    """Redis does not have the script."""
