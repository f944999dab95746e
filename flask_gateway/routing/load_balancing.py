"""Which target of a tier is asked first. The order is all there is to it: the others follow."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from ..state.store import Store, Value, state_key
from .routes import Route, Tier

#: A turn that nobody takes for so long begins anew, seconds.
FORGET_AFTER = 3600.0


def _next(value: Value | None, now: int) -> tuple[Value, int]:
    turn = value[0] if value else 0
    return ((turn + 1) % (1 << 53),), turn


def in_turn(tier: Tier, turn: int) -> Tier:
    """The tier, begun by the target whose turn it is: each has as many of the turns as its weight."""
    place = turn % sum(target.weight for target in tier)
    for at, target in enumerate(tier):
        place -= target.weight
        if place < 0:
            return tier[at:] + tier[:at]
    raise AssertionError("the turn is below the sum of the weights")


def least_busy(tier: Tier, busy: Callable[[str], int]) -> Tier:
    """The tier at random, but of its first two the one with less under way for its weight first.

    Two choices are nearly as good as asking all, and do not send every worker to the same one at once.
    """
    # No cryptography: chance spreads load. The key gives a target of weight 2 twice the chance to lead.
    order = sorted(tier, key=lambda target: random.random() ** (1 / target.weight), reverse=True)  # noqa: S311
    if (
        len(order) > 1
        and busy(order[1].upstream) / order[1].weight < busy(order[0].upstream) / order[0].weight
    ):
        order[0], order[1] = order[1], order[0]
    return tuple(order)


class Balancer:
    """Orders tiers by what all workers do. Shared by all threads; the store guards it.

    :param busy: how many calls an upstream has under way, over all workers.
    """

    def __init__(self, store: Store, busy: Callable[[str], int]) -> None:
        self._store = store
        self._busy = busy

    def ordered(self, route: Route) -> Iterator[Tier]:
        """The tiers, each in the order in which to ask it; decided when it is reached."""
        for number, tier in enumerate(route.tiers):
            if len(tier) == 1 or route.balance == "in_order":
                yield tier
            elif route.balance == "least_requests":
                yield least_busy(tier, self._busy)
            else:
                turn = self._store.update(state_key(f"turn:{number}", route.name), _next, FORGET_AFTER)
                yield in_turn(tier, turn)
