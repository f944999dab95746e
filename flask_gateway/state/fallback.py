"""A store that always answers: from its primary, and from state nearer by while that is in trouble.

What was written locally is never carried over to the primary. On return the primary's state counts as it was
left; local state ages out by its own lifetimes. A primary may come back empty, again and again (a Redis in a
crash loop). So what a :class:`Confirmed` change admits is written locally, too, and is admitted only if the
local state agrees: this machine alone never admits more than the limit.

The two may have different clocks (Redis has its own): a change gets the ``now`` of the store it runs on, so
stamps that live in values never mix. Whoever keeps a stamp outside the store, as a lease does, must take one
that it does not find there for expired.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from .contract import StoreBusy, StoreError, StoreFull
from .store import Change, Store, Value

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

#: A failed primary is left alone for so long, then probed once in each such time, seconds.
PAUSE = 1.0

#: Trouble with single keys is taken to be over after so long without any, seconds.
CALM = 2.0

#: The least time between two warnings, seconds.
QUIET = 60.0

_PROBE = "fallback:probe"


class Divisible(Protocol[Answer_co]):
    """A change that knows a share of itself."""

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, Answer_co]: ...

    def divided(self, share: int) -> Divisible[Answer_co]:
        """The same change, allowing one ``share``-th of what it allows, and at least 1."""
        ...


class Confirmed(Protocol[Answer]):
    """A change that is to hold for this machine alone, whatever the primary has forgotten."""

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, Answer]: ...

    def refusal(self, old: Value | None, now: int) -> Answer | None:
        """The answer that the local state alone gives; ``None`` if it refuses nothing."""
        ...

    def confirmed(self, answer: Answer, write: Callable[[], Answer]) -> Answer:
        """The answer of both states. ``write`` makes the change locally. It is not called for a refusal."""
        ...


class StoreStatus(NamedTuple):
    """How a store has fared.

    :param reason: of the latest trouble, also when it is over; empty if there was none.
    :param local_calls: how many calls were answered from local state since the start.
    """

    degraded: bool
    reason: str
    local_calls: int


class FallbackStore:
    """The primary's answers while it gives them, else the local store's; never a ``StoreError``.

    ``StoreBusy`` and ``StoreFull`` concern one key, and only that call goes local. After any other
    error every call goes local at once, and a thread of its own probes the primary, so that no call
    waits for a store that is known to be away: an outage costs each call under way its one timeout, and
    later calls nothing. The probe is started by a call, so an idle process does nothing.

    Shared by all threads of one process, its own state guarded by ``_lock``; made after fork.

    :param local: must not raise ``StoreError`` itself.
    :param share: among how many a limit is divided while it is kept locally: see :class:`Divisible`.
    :param clock: seconds, for the pauses above.
    :param confirms: whether the primary may forget, so that :class:`Confirmed` changes are made locally, too.
    :param counted: told of each call that was answered locally: the store was ``busy``, ``full`` or ``away``.
    """

    def __init__(
        self,
        primary: Store,
        local: Store,
        share: int = 1,
        clock: Callable[[], float] = time.monotonic,
        *,
        confirms: bool = False,
        counted: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._confirms = confirms
        self._counted = counted
        self._primary = primary
        self._local = local
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._probing = False
        self._probe_due = 0.0
        self._last_trouble = float("-inf")
        self._last_warning = float("-inf")
        self._warned = False
        self._reason = ""
        self._trouble = "busy"
        self._local_calls = 0
        #: Those of the primary (``guards.slots.Holders``), if it knows any.
        self.holders: Any = getattr(primary, "holders", None)

    # ------------------------------------------------------------ the store

    def now(self) -> int:
        if not self._skip():
            try:
                return self._primary.now()
            except StoreError as error:
                self._note(error)
        return self._local.now()

    def read(self, key: str) -> Value | None:
        if not self._skip():
            try:
                return self._primary.read(key)
            except StoreError as error:
                self._note(error)
        self._count()
        return self._local.read(key)

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        if not self._skip():
            try:
                if self._confirms:
                    return self._confirm(key, change, ttl)
                return self._primary.update(key, change, ttl)
            except StoreError as error:
                self._note(error)
        self._count()
        return self._local.update(key, self._share_of(change), ttl)

    def _confirm(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """Ask the primary, unless the local state refuses; and make what was admitted known locally."""
        if not hasattr(change, "confirmed"):
            return self._primary.update(key, change, ttl)
        both: Confirmed[Answer] = change  # type: ignore[assignment]  # it has what makes it one
        refused = both.refusal(self._local.read(key), self._local.now())
        if refused is not None:
            return refused
        answer = self._primary.update(key, change, ttl)
        # As a plain function: it is not to be divided, whoever makes it.
        return both.confirmed(answer, lambda: self._local.update(key, both.__call__, ttl))

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        if not self._skip():
            try:
                return iter(list(self._primary.scan(prefix)))
            except StoreError as error:
                self._note(error)
        return self._local.scan(prefix)

    def close(self) -> None:
        self._primary.close()
        self._local.close()

    def _share_of(self, change: Change[Answer]) -> Change[Answer]:
        divided = getattr(change, "divided", None)
        return change if divided is None else divided(self._share)

    # ------------------------------------------------------------ how it fares

    @property
    def degraded(self) -> bool:
        """Whether calls are, or were within the last two seconds, answered from local state.

        Asking counts as a call: it may start a probe.
        """
        return self._skip() or self._clock() - self._last_trouble < CALM

    def status(self) -> StoreStatus:
        return StoreStatus(self.degraded, self._reason, self._local_calls)

    def _count(self) -> None:
        with self._lock:
            self._local_calls += 1
        self._counted("away" if self._away else self._trouble)

    def _skip(self) -> bool:
        """Whether to leave the primary alone. Starts what has to be done about it, waits for nothing."""
        if self._away:
            if self._clock() >= self._probe_due:
                self._start_probe()
            return self._away
        if self._warned and self._clock() - self._last_trouble >= CALM:
            self._tell_return()
        return False

    def _note(self, error: StoreError) -> None:
        now = self._clock()
        with self._lock:
            self._reason = str(error)
            self._trouble = "full" if isinstance(error, StoreFull) else "busy"
            self._last_trouble = now
            if not isinstance(error, (StoreBusy, StoreFull)):
                self._away = True
                self._probe_due = now + PAUSE
            warn = now - self._last_warning >= QUIET
            if warn:
                self._last_warning, self._warned = now, True
        if warn:
            log.warning("state is degraded, local state answers: %s", error)

    def _tell_return(self) -> None:
        with self._lock:
            tell, self._warned = self._warned, False
        if tell:
            log.warning("state is whole again: the primary store answers")

    # ------------------------------------------------------------ the probe

    def _start_probe(self) -> None:
        with self._lock:
            now = self._clock()
            if self._probing or now < self._probe_due:
                return
            self._probing, self._probe_due = True, now + PAUSE
        try:
            threading.Thread(target=self._probe, name="store-probe", daemon=True).start()
        except RuntimeError:  # no thread to be had now; the next one is due in a second
            self._probing = False

    def _probe(self) -> None:
        """Write something: a primary that only reads (a replica, or out of memory) is not back."""
        try:
            self._primary.update(_PROBE, lambda old, now: ((now,), None), ttl=5.0)
        except StoreError as error:
            self._note(error)
        else:
            with self._lock:
                self._away, self._last_trouble = False, float("-inf")
            self._tell_return()
        finally:
            self._probing = False


class UnavailableStore:
    """In the place of a primary that cannot be had at all: every call says why.

    :param reason: for the log and the status page.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def now(self) -> int:
        raise StoreError(self._reason)

    def read(self, key: str) -> Value | None:
        raise StoreError(self._reason)

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        raise StoreError(self._reason)

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        raise StoreError(self._reason)

    def close(self) -> None:
        """Nothing to give back."""
