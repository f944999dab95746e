"""Decides which target of a tier is asked first: round robin or least requests. The others follow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import ClassVar

from ..config.schema import Balance
from ..state.store import Store, Value, state_key
from ..state.together import TogetherStore
from .routes import MOST_ROUTES, Route, Tier

#: Round robin starts again at the first target after this long without a call, seconds.
FORGET_AFTER = 3600.0


class NextTurn:
    """Takes the next turn of a tier: a change for a store (``state.store.Change``)."""

    script: ClassVar[str] = """
        local value = load()
        local turn = value and value[1] or 0
        save({math.fmod(turn + 1, 9007199254740992)})
        return {turn}
    """
    arguments: tuple[int, ...] = ()

    def __call__(self, value: Value | None, now: int) -> tuple[Value, int]:
        turn = value[0] if value else 0
        return ((turn + 1) % (1 << 53),), turn

    def answer(self, ints: tuple[int, ...]) -> int:
        """Convert the Lua script's result."""
        return ints[0]


_NEXT = NextTurn()


class OwnTurns:
    """The turns of one process, where Redis would take a round trip for each. Threads share it.

    Each process begins at random, so all machines together do not begin at the same target.
    """

    def __init__(self) -> None:
        self._turns: dict[str, Iterator[int]] = {}

    def next(self, tier: str) -> int:
        turns = self._turns.get(tier)
        if turns is None:
            if len(self._turns) >= MOST_ROUTES:
                self._turns = {}
            begin = random.randrange(1 << 32)  # noqa: S311 - spreads load, guards nothing
            turns = self._turns.setdefault(tier, itertools.count(begin))
        return next(turns)


def round_robin(tier: Tier, turn: int) -> Tier:
    """The tier, rotated so that the target whose turn it is comes first. A target's weight is its share of
    the turns."""
    left = turn % sum(target.weight for target in tier)
    for index, target in enumerate(tier):
        left -= target.weight
        if left < 0:
            return tier[index:] + tier[:index]
    raise AssertionError("the turn is below the sum of the weights")


def least_requests(tier: Tier, in_flight: Callable[[str], int]) -> Tier:
    """The tier in random order, but of the first two the one with fewer calls in flight per weight leads.

    Two random choices are nearly as good as comparing all, and do not send every worker to the same target.
    """
    # Random numbers only spread load here. The exponent gives a target of weight 2 twice the chance to lead.
    order = sorted(tier, key=lambda target: random.random() ** (1 / target.weight), reverse=True)  # noqa: S311
    if len(order) > 1:
        first, second = (in_flight(target.upstream) / target.weight for target in order[:2])
        if second < first:
            order[0], order[1] = order[1], order[0]
    return tuple(order)


class Balancer:
    """Orders the targets of tiers. Shared by all threads.

    The workers of one machine share the turns of round robin. With Redis each worker has its own.

    :param in_flight: returns how many calls an upstream has in flight, over all workers and machines.
    """

    def __init__(self, store: Store, in_flight: Callable[[str], int]) -> None:
        self._store = store
        self._in_flight = in_flight
        self._own_turns = OwnTurns() if isinstance(store, TogetherStore) else None

    def ordered(self, route: Route, first: Tier | None = None) -> Iterator[Tier]:
        """The tiers, each with its targets in the order to ask. A tier is ordered when it is reached.

        :param first: the first tier, if it is in its order already.
        """
        for number, tier in enumerate(route.tiers):
            if number == 0 and first is not None:
                yield first
            elif len(tier) == 1 or route.balance is Balance.IN_ORDER:
                yield tier
            elif route.balance is Balance.LEAST_REQUESTS:
                yield least_requests(tier, self._in_flight)
            else:
                yield round_robin(tier, self._turn(state_key(f"turn:{number}", route.name)))

    def _turn(self, key: str) -> int:
        if self._own_turns is not None:
            return self._own_turns.next(key)
        return self._store.update(key, _NEXT, FORGET_AFTER)
