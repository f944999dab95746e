"""Makes several changes of a call in one round trip to Redis, ahead of the guards that ask for them.

:meth:`TogetherStore.prepare` makes the changes of a thread's call, and keeps their answers for this thread.
The guards then make the same changes one after another, and each gets the answer that is there already.
:meth:`TogetherStore.finish` names the changes that no guard has asked for, to be undone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from .store import Answer, Change, StoreStatus, Value


class StoreUpdate(NamedTuple):
    """One change of one key, as for :meth:`Store.update`."""

    key: str
    change: Any
    ttl: float


class Joining(Protocol):
    """A store that makes several changes at once."""

    def update_together(self, steps: Sequence[StoreUpdate], *, admit: bool) -> list[Any] | None:
        """Make changes of different keys at once, each with a Lua version.

        :param admit: if one refuses (the first number of its answer is 0), none is made.
        :returns: an answer for each; ``None``: none was made.
        """
        ...


class _Prepared(threading.local):
    """The answers that this thread has not asked for yet."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, type], tuple[StoreUpdate, Any]] = {}


class TogetherStore:
    """A store of several machines that can prepare changes (``Store``).

    :param store: makes the changes. It is also a :class:`Joining`.
    """

    def __init__(self, store: Any) -> None:
        self._store: Any = store
        self._prepared = _Prepared()
        self.holders: Any = getattr(store, "holders", None)

    def prepare(self, steps: Sequence[StoreUpdate], *, admit: bool) -> None:
        """Make the changes now, if they can be made together."""
        answers = self._store.update_together(steps, admit=admit)
        if answers is not None:
            self._prepared.answers = {
                (step.key, type(step.change)): (step, answer)
                for step, answer in zip(steps, answers, strict=True)
            }

    def has(self, key: str, kind: type, amount: int) -> bool:
        """Whether a change is prepared. :param amount: what it reserves."""
        found = self._prepared.answers.get((key, kind))
        return found is not None and _amount(found[0].change) == amount

    def finish(self) -> list[tuple[StoreUpdate, Any]]:
        """Return the prepared changes that nothing has asked for, each with its answer."""
        left, self._prepared.answers = self._prepared.answers, {}
        return list(left.values())

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        prepared, place = self._prepared.answers, (key, type(change))
        found = prepared.get(place) if prepared else None
        if found is not None and _amount(found[0].change) == _amount(change):
            del prepared[place]
            return found[1]  # type: ignore[no-any-return]
        answer: Answer = self._store.update(key, change, ttl)
        return answer

    def now(self) -> int:
        return int(self._store.now())

    def read(self, key: str) -> Value | None:
        value: Value | None = self._store.read(key)
        return value

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        found: Iterator[tuple[str, Value]] = self._store.scan(prefix)
        return found

    @property
    def degraded(self) -> bool:
        return bool(self._store.degraded)

    def status(self) -> StoreStatus:
        status: StoreStatus = self._store.status()
        return status

    def close(self) -> None:
        self._store.close()


def _amount(change: Any) -> int:
    """The tokens or nano-dollars that a change reserves; 0: it reserves none."""
    return getattr(change, "amount", 0)
