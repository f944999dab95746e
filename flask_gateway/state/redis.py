"""Keeps the state of several machines in Redis, in one round trip for a change with a Lua version.

Any change works: the store fetches the key, runs the change here, and stores the result if the value in Redis
is still the same. This takes two round trips, and more under contention. A frequent change also has a Lua
version (:class:`Scripted`), which Redis runs itself. Both write the same bytes, so they can be mixed.

No command is sent twice. After a timeout nobody knows whether Redis has run, or will run, the command. Local
state then answers the call, and in Redis it counts once or not at all.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import redis
from cachetools import TTLCache
from redis.backoff import NoBackoff
from redis.exceptions import MaxConnectionsError, NoScriptError, RedisError
from redis.retry import Retry

from .contract import MAX_INTS, StoreBusy, StoreError, decode, encode, lifetime, monotonic, name_of
from .redis_addresses import pool_of
from .store import Change, StoreStatus, Value
from .together import StoreUpdate

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

PREFIX = b"flask_gateway:"

#: The timeout for connecting and for each answer, seconds. An outage costs a call at most both.
TIMEOUT = 0.05

#: How long a change without a Lua version retries under contention, seconds.
PATIENCE = 0.1

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

#: Prefixed to every Lua version. Times are microseconds; as doubles they are exact until the year 2255.
_PRELUDE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local arguments = {}
for i = 2, #ARGV do arguments[i - 1] = tonumber(ARGV[i]) end
local function load()
  local raw = redis.call('GET', KEYS[1])
  if not raw or #raw % 8 ~= 0 or #raw > BYTES then return nil end
  local value = {struct.unpack('<' .. string.rep('i8', #raw / 8), raw)}
  value[#value] = nil  -- struct.unpack adds the position after the last one
  return value
end
local function save(value)
  local raw = struct.pack('<' .. string.rep('i8', #value), unpack(value))
  redis.call('SET', KEYS[1], raw, 'PX', ARGV[1])
end
local function forget() redis.call('DEL', KEYS[1]) end
local function change()
""".replace("BYTES", str(8 * MAX_INTS))
_EPILOGUE = """
end
return {now, unpack(change())}
"""

_FETCH = """
local clock = redis.call('TIME')
return {clock[1] * 1000000 + clock[2], redis.call('GET', KEYS[1])}
"""

#: Arguments: 1 if a refusal stops all; then of each change its lifetime in ms, and its arguments.
_TOGETHER = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local arguments, key, writes, changes = {}, '', {}, {}
local function load()
  local raw = redis.call('GET', key)
  if not raw or #raw % 8 ~= 0 or #raw > BYTES then return nil end
  local value = {struct.unpack('<' .. string.rep('i8', #raw / 8), raw)}
  value[#value] = nil
  return value
end
local function save(value) writes[key] = struct.pack('<' .. string.rep('i8', #value), unpack(value)) end
local function forget() writes[key] = '' end
FUNCTIONS
local answers, lifetimes, at = {now, 1}, {}, 2
for number, change in ipairs({ORDER}) do
  key, arguments = KEYS[number], {}
  lifetimes[key] = ARGV[at]
  for i = 1, tonumber(ARGV[at + 1]) do arguments[i] = tonumber(ARGV[at + 1 + i]) end
  at = at + 2 + #arguments
  local answer = changes[change]()
  if ARGV[1] == '1' and answer[1] == 0 then return {now, 0} end
  answers[number + 2] = answer
end
for name, raw in pairs(writes) do
  if raw == '' then redis.call('DEL', name) else redis.call('SET', name, raw, 'PX', lifetimes[name]) end
end
return answers
""".replace("BYTES", str(8 * MAX_INTS))

#: Arguments: lifetime in ms, then the expected and the new value, each as '1' and bytes, or '0' for none.
#: Comparing values is enough, even if others wrote in between: a change is a pure function of the value.
_SWAP = """
local clock = redis.call('TIME')
local raw = redis.call('GET', KEYS[1])
local same = not raw
if ARGV[2] == '1' then same = raw == ARGV[3] end
if not same then return {0, clock[1] * 1000000 + clock[2], raw} end
if ARGV[4] == '1' then redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[1]) else redis.call('DEL', KEYS[1]) end
return {1}
"""


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
        hidden for that time. Its own updates are visible at once.
    :param url: of ``redis_addresses.py``. Each new connection resolves a name in it without timeout, so
        an IP address is better.
    :param namespace: part of every key. Gateways with different namespaces share nothing.
    :raises ValueError: the URL cannot be parsed.
    """

    def __init__(self, url: str, remember: float = 0.0, namespace: str = "") -> None:
        self._prefix = PREFIX + (f"{namespace}/".encode() if namespace else b"")
        self._read_lately: TTLCache[bytes, Value | None] = TTLCache(1024, remember)
        #: The keys that are being read, each with a mark that an update of the key removes.
        self._reading: dict[bytes, object] = {}
        self._lock = threading.Lock()  # guards the two above
        self._client = redis.Redis(connection_pool=pool_of(url, _OPTIONS))
        self._sync: _Sync | None = None

    def now(self) -> int:
        """Redis's ``TIME``, extrapolated with our own clock between measurements.

        The error is half the round trip of the measurement (25 ms at worst, usually below 1 ms) plus the
        drift in 10 s. If somebody sets the clock of Redis's machine, this clock steps too.
        """
        sync = self._sync
        if sync is None or monotonic() - sync.measured > RESYNC:
            sent = monotonic()
            seconds, micros = self._call("TIME")
            sync = self._compare(sent, int(seconds) * 1_000_000 + int(micros))
        return monotonic() + sync.offset

    def read(self, key: str) -> Value | None:
        name = self._prefix + name_of(key)
        with self._lock:
            # No ``in`` first: the entry may expire between the check and the lookup.
            with suppress(KeyError):
                return self._read_lately[name]
            mark = self._reading.setdefault(name, object())
        remember, value = False, None
        try:
            raw = self._call("GET", name)
            value, remember = None if raw is None else decode(raw), True
        finally:
            with self._lock:
                # A different mark: an update of ours may be newer than this read, so do not remember it.
                if self._reading.get(name) is mark:
                    del self._reading[name]
                    if remember:
                        self._read_lately[name] = value
        return value

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """:raises StoreBusy: others kept changing this key. This update wrote nothing."""
        name = self._prefix + name_of(key)
        try:
            return self._update(name, change, ttl)
        finally:
            with self._lock:
                self._read_lately.pop(name, None)
                self._reading.pop(name, None)

    def _update(self, name: bytes, change: Change[Answer], ttl: float) -> Answer:
        script = getattr(change, "script", None)
        if script is None:
            return self._swap(name, change, lifetime(ttl) // 1000)
        twin: Scripted[Answer] = change  # type: ignore[assignment]  # it has a ``script``
        sent = monotonic()
        reply = self._run(_twin(script), name, lifetime(ttl) // 1000, *twin.arguments)
        self._compare(sent, reply[0])
        return twin.answer(tuple(reply[1:]))

    def update_together(self, steps: Sequence[StoreUpdate], *, admit: bool) -> list[Any] | None:
        """Make changes of different keys in one round trip (``together.Joining``).

        :raises StoreError: Redis fails. It is unknown whether it has made them.
        """
        names = [self._prefix + name_of(step.key) for step in steps]
        parts: list[float] = [int(admit)]
        for step in steps:
            arguments = step.change.arguments
            parts += (lifetime(step.ttl) // 1000, len(arguments), *arguments)
        sent = monotonic()
        try:
            reply = self._run(together(tuple(step.change.script for step in steps)), names, *parts)
        finally:
            with self._lock:
                for name in names:
                    self._read_lately.pop(name, None)
                    self._reading.pop(name, None)
        self._compare(sent, reply[0])
        if not reply[1]:
            return None
        return [step.change.answer(tuple(ints)) for step, ints in zip(steps, reply[2:], strict=True)]

    def _swap(self, name: bytes, change: Change[Answer], milliseconds: int) -> Answer:
        deadline = time.monotonic() + PATIENCE
        now, raw = self._run(_FETCH, name)
        while True:
            old = None if raw is None else decode(raw)
            new, answer = change(old, now)
            if new is old:
                return answer
            wanted = ("0", b"") if new is None else ("1", encode(new))
            expected = ("0", b"") if raw is None else ("1", raw)
            swapped, *current = self._run(_SWAP, name, milliseconds, *expected, *wanted)
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
        self._client.connection_pool.disconnect()

    # ------------------------------------------------------------ talking to Redis

    def _run(self, script: str, name: bytes | list[bytes], *arguments: float | str | bytes) -> Any:
        names = name if isinstance(name, list) else [name]
        try:
            return self._call("EVALSHA", _digest(script), len(names), *names, *arguments)
        except _Unknown:  # Redis was restarted and has lost the script; it ran nothing
            return self._call("EVAL", script, len(names), *names, *arguments)

    def _call(self, *command: float | str | bytes) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except NoScriptError as error:
            raise _Unknown(str(error)) from error
        except MaxConnectionsError as error:
            raise StoreBusy("no more connections to Redis allowed") from error
        except (RedisError, OSError) as error:
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


@lru_cache(maxsize=256)
def together(scripts: tuple[str, ...]) -> str:
    """One script for changes of different keys. If one refuses an admission, nothing is written."""
    distinct = list(dict.fromkeys(scripts))
    bodies = [f"changes[{number}] = function()\n{text}\nend\n" for number, text in enumerate(distinct, 1)]
    functions = "".join(bodies)
    order = ", ".join(str(distinct.index(script) + 1) for script in scripts)
    return _TOGETHER.replace("FUNCTIONS", functions).replace("ORDER", order)


@lru_cache(maxsize=64)
def _twin(script: str) -> str:
    return _PRELUDE + script + _EPILOGUE


@lru_cache(maxsize=64)
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
