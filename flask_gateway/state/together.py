"""Makes several changes of a call in one round trip to Redis, ahead of the guards that ask for them.

:meth:`TogetherStore.prepare` makes the changes of a thread's call, and keeps their answers for this thread.
The guards then make the same changes one after another, and each gets the answer that is there already.
:meth:`TogetherStore.finish` names the changes that no guard has asked for, to be undone.

If one of them refuses, none is made. The thread then has a copy of the values of their keys, and the guards
make their changes on it: so the one that refuses says why, and what was taken before it goes back there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from .store import Answer, Change, StoreStatus, Value


class StoreUpdate(NamedTuple):
    """One change of one key, as for :meth:`Store.update`.

    :param refuses: whether it refuses if the first number of its answer is 0. If not, it is made in any case.
    :param optional: it is made with the others, whatever it answers; not if one of them refuses.
    """

    key: str
    change: Any
    ttl: float
    refuses: bool = True
    optional: bool = False


class TogetherRefused(NamedTuple):
    """Changes of which one refuses. Only those were made that cannot refuse.

    :param now: the store's time. :param values: of their keys, as they are.
    :param made: the changes that were made, each with its answer.
    :param refusals: of the machine's own state, by key.
    """

    now: int
    values: dict[str, Value | None]
    made: list[tuple[StoreUpdate, Any]]
    refusals: Mapping[str, Any] = MappingProxyType({})


class Joining(Protocol):
    """A store that makes several changes at once."""

    def update_together(
        self, steps: Sequence[StoreUpdate], *, admit: bool
    ) -> list[Any] | TogetherRefused | None:
        """Make changes at once, each with a Lua version.

        :param admit: if one refuses, none is made.
        :returns: an answer for each; ``None``: none was made, for another reason.
        """
        ...


class _Prepared(threading.local):
    """The answers and the copy of one thread.

    :ivar answers: those that it has not asked for yet.
    :ivar copy: the values that changes are made on; ``None``: they are made in the store.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, type], tuple[StoreUpdate, Any]] = {}
        self.copy: TogetherRefused | None = None


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
        self._prepared.copy = answers if isinstance(answers, TogetherRefused) else None
        made: Any = ()
        if isinstance(answers, TogetherRefused):
            made = answers.made
        elif answers is not None:
            made = zip(steps, answers, strict=True)
        self._prepared.answers = {(step.key, type(step.change)): (step, answer) for step, answer in made}

    def has(self, key: str, kind: type, amount: int) -> bool:
        """Whether a change is prepared. :param amount: what it reserves."""
        found = self._prepared.answers.get((key, kind))
        return found is not None and _amount(found[0].change) == amount

    def take(self, key: str, kind: type) -> tuple[StoreUpdate, Any] | None:
        """Return a prepared change with its answer, once."""
        return self._prepared.answers.pop((key, kind), None)

    @property
    def refused(self) -> bool:
        """Whether a prepared change has refused."""
        return self._prepared.copy is not None

    def copied(self, key: str) -> bool:
        """Whether the changes of a key are made on a copy, since a prepared change has refused."""
        copy = self._prepared.copy
        return copy is not None and key in copy.values

    def finish(self) -> list[tuple[StoreUpdate, Any]]:
        """Return the prepared changes that nothing has asked for, each with its answer."""
        left, self._prepared.answers, self._prepared.copy = self._prepared.answers, {}, None
        return list(left.values())

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        prepared, place = self._prepared.answers, (key, type(change))
        found = prepared.get(place) if prepared else None
        if found is not None and _amount(found[0].change) == _amount(change):
            del prepared[place]
            return found[1]  # type: ignore[no-any-return]
        copy = self._prepared.copy
        if copy is not None and key in copy.values:
            if key in copy.refusals:
                return copy.refusals[key]  # type: ignore[no-any-return]
            copy.values[key], answered = change(copy.values[key], copy.now)
            return answered
        answer: Answer = self._store.update(key, change, ttl)
        return answer

    def read(self, key: str) -> Value | None:
        copy = self._prepared.copy
        if copy is not None and key in copy.values:
            return copy.values[key]
        value: Value | None = self._store.read(key)
        return value

    def now(self) -> int:
        return int(self._store.now())

    def watch(self, *keys: str, lax: bool = False) -> None:
        self._store.watch(*keys, lax=lax)

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


def is_copied(store: object, key: str) -> bool:
    """:meth:`TogetherStore.copied` of any store: those of one machine copy nothing."""
    return isinstance(store, TogetherStore) and store.copied(key)


def _amount(change: Any) -> int:
    """The tokens or nano-dollars that a change reserves; 0: it reserves none."""
    return getattr(change, "amount", 0)
