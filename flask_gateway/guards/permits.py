"""Joins the permits of a guard that limits several subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..model.call import Outcome
from ..model.protocols import Permit
from ..model.reply import shielded
from ..state.together import StoreUpdate


class JointPermit:
    """The permits of several subjects, as one.

    :param permits: at least one. The last comes to its end first.
    :param left: what a permit's headers say is left. The headers of the one with the least count.
    """

    def __init__(
        self, permits: Sequence[Permit], left: Callable[[Mapping[str, str]], int] | None = None
    ) -> None:
        self._permits = permits
        self._left = left

    @property
    def headers(self) -> Mapping[str, str]:
        if self._left is None:
            return {}
        return min((permit.headers for permit in self._permits), key=self._left)

    def settle_steps(self, outcome: Outcome) -> list[StoreUpdate]:
        """The changes that :meth:`settle` makes, of the permits that know them."""
        return [step for permit in self._permits for step in _steps(permit, outcome)]

    def settle(self, outcome: Outcome) -> None:
        for permit in reversed(self._permits):
            shielded(permit.settle, outcome)

    def cancel(self) -> None:
        for permit in reversed(self._permits):
            shielded(permit.cancel)


def _steps(permit: Permit, outcome: Outcome) -> list[StoreUpdate]:
    steps: list[StoreUpdate] = getattr(permit, "settle_steps", _none)(outcome)
    return steps


def _none(outcome: Outcome) -> list[StoreUpdate]:
    return []
