"""Answers from the primary store, and from a local store while the primary fails.

The local state is never copied to the primary. When the primary returns, its old state is valid again, and
local state expires by itself. A primary may return empty, again and again (a Redis in a crash loop). A
:class:`Confirmed` change is therefore written to both, and is admitted only if the local state agrees too. So
one machine alone never admits more than the limit.

The two stores may have different clocks (Redis has its own). A change gets the ``now`` of the store on which
it runs, so timestamps in values never mix. Code that keeps a timestamp outside the store, such as a lease,
must treat a timestamp that is missing in the store as expired.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from .contract import StoreBusy, StoreError, StoreFull
from .store import Change, Store, StoreStatus, Value
from .together import StoreUpdate, TogetherRefused

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

#: The interval between two probes of a failed primary, seconds.
PAUSE = 1.0

#: The time without errors after which trouble with single keys counts as over, seconds.
CALM = 2.0

#: The shortest time between two warnings, seconds.
QUIET = 60.0

_PROBE = "fallback:probe"

#: The most keys of local values that are dropped one by one when the primary is back.
_MOST_STALE = 10_000


class Divisible(Protocol[Answer_co]):
    """A change that can be limited to a share."""

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, Answer_co]: ...

    def divided(self, share: int) -> Divisible[Answer_co]:
        """The same change with a limit of one ``share``-th, at least 1."""
        ...


class Confirmed(Protocol[Answer]):
    """A change whose limit holds on this machine even if the primary has lost its state."""

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, Answer]: ...

    def refusal(self, old: Value | None, now: int) -> Answer | None:
        """The refusal by the local state alone; ``None`` if it does not refuse."""
        ...

    def confirmed(self, answer: Answer, write: Callable[[], Answer]) -> Answer:
        """The answer of both states. ``write`` makes the local change. It is not called for a refusal."""
        ...


class Stale(Protocol):
    """A change whose local value is false as soon as the primary is used again.

    :param stale: always true. The local value is dropped when the primary is back.
    """

    stale: bool


class FallbackStore:
    """Answers from the primary while it works, else from the local store. Never raises ``StoreError``.

    ``StoreBusy`` and ``StoreFull`` concern one key: only that call uses the local store. After any other
    error all calls use the local store at once, and a thread probes the primary. No call waits for a store
    that is known to be away. An outage costs each call in flight one timeout, and later calls nothing. A call
    starts the probe, so an idle process does nothing.

    All threads of one process share it. ``_lock`` guards its own state. Create it after fork.

    :param local: must not raise ``StoreError`` itself.
    :param share: the divisor of limits while the local store keeps them: see :class:`Divisible`.
    :param clock: seconds, for the pauses above.
    :param confirms: whether the primary may lose state, so that :class:`Confirmed` changes go to both stores.
    :param counted: called for each local answer with the reason: ``busy``, ``full`` or ``away``.
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
        #: Keys with local values that are false once the primary has answered again (:class:`Stale`).
        self._stale: set[str] = set()
        #: The primary's holders of leases (``guards.leases.Holders``), if it has any.
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

    def watch(self, *keys: str, lax: bool = False) -> None:
        self._primary.watch(*keys, lax=lax)

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        if not (self._away or self._warned or self._stale) or not self._skip():
            try:
                if self._confirms:
                    return self._confirm(key, change, ttl)
                return self._primary.update(key, change, ttl)
            except StoreError as error:
                self._note(error)
        self._count()
        if getattr(change, "stale", False) and len(self._stale) < _MOST_STALE:
            self._stale.add(key)
        return self._local.update(key, self._share_of(change), ttl)

    def _confirm(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """Update the primary unless the local state refuses. Write an admitted change locally too."""
        if not hasattr(change, "confirmed"):
            return self._primary.update(key, change, ttl)
        both: Confirmed[Answer] = change  # type: ignore[assignment]  # it has ``confirmed``
        refused = both.refusal(self._local.read(key), self._local.now())
        if refused is not None:
            return refused
        answer = self._primary.update(key, change, ttl)
        # A bound method has no ``divided``, so a nested FallbackStore does not divide the limit.
        return both.confirmed(answer, lambda: self._local.update(key, both.__call__, ttl))

    def update_together(
        self, steps: Sequence[StoreUpdate], *, admit: bool
    ) -> list[Any] | TogetherRefused | None:
        """Make changes together in the primary (``together.Joining``); ``None``: none was made."""
        if self._skip():
            return None
        both = [hasattr(change, "confirmed") for _, change, *_ in steps]
        refusals: dict[str, Any] = {}
        for (key, change, *_), confirmed in zip(steps, both, strict=True):
            if (
                confirmed
                and (refusal := change.refusal(self._local.read(key), self._local.now())) is not None
            ):
                refusals[key] = refusal
        primary: Any = self._primary
        try:
            if refusals:
                now, values = primary.read_together([step.key for step in steps])
                return TogetherRefused(now, values, [], refusals)
            answers: list[Any] | TogetherRefused = primary.update_together(steps, admit=admit)
        except StoreError as error:
            self._note(error)
            return None
        if isinstance(answers, TogetherRefused):
            return answers
        for at, (key, change, ttl, *_) in enumerate(steps):
            if both[at]:
                write = partial(self._local.update, key, change.__call__, ttl)
                answers[at] = change.confirmed(answers[at], write)
        return answers

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

    # ------------------------------------------------------------ health

    @property
    def degraded(self) -> bool:
        """Whether the local state answers, or has answered within the last two seconds.

        Reading this counts as a call: it may start a probe.
        """
        return self._skip() or self._clock() - self._last_trouble < CALM

    def status(self) -> StoreStatus:
        return StoreStatus(self.degraded, self._reason, self._local_calls)

    def _count(self) -> None:
        with self._lock:
            self._local_calls += 1
        self._counted("away" if self._away else self._trouble)

    def _skip(self) -> bool:
        """Whether to skip the primary. Starts a probe when one is due. Never blocks."""
        if self._away:
            if self._clock() >= self._probe_due:
                self._start_probe()
            return self._away
        if (self._warned or self._stale) and self._clock() - self._last_trouble >= CALM:
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
            warned, self._warned = self._warned, False
            stale, self._stale = self._stale, set()
        for key in stale:
            self._local.update(key, _forget, 1.0)
        if warned:
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
        except RuntimeError:  # no thread can start now; the next probe is due in a second
            self._probing = False

    def _probe(self) -> None:
        """Write to the primary: one that can only read (a replica, or out of memory) is not back."""
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


def _forget(old: Value | None, now: int) -> tuple[Value | None, None]:
    return None, None


class UnavailableStore:
    """Replaces a primary that could not be opened. Every call raises ``StoreError`` with the reason.

    :param reason: for the log and the status page.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def now(self) -> int:
        raise StoreError(self._reason)

    def read(self, key: str) -> Value | None:
        raise StoreError(self._reason)

    def watch(self, *keys: str, lax: bool = False) -> None:
        """Do nothing: nothing can be read."""

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        raise StoreError(self._reason)

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        raise StoreError(self._reason)

    def status(self) -> StoreStatus:
        return StoreStatus(True, self._reason)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
