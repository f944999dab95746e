"""Joins the permits of a guard that limits several subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..model.call import Outcome
from ..model.protocols import Permit
from ..model.reply import shielded


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

    def settle(self, outcome: Outcome) -> None:
        for permit in reversed(self._permits):
            shielded(permit.settle, outcome)

    def cancel(self) -> None:
        for permit in reversed(self._permits):
            shielded(permit.cancel)
