"""Tests the check of the platform's mutexes at the start."""

from __future__ import annotations

import pytest

from flask_gateway.state import (
    StoreError,
    open_store,
    self_check,
)
from flask_gateway.state.robust_mutex import Mutexes
from flask_gateway.state.self_check import check_mutexes


def test_the_mutexes_of_this_platform_pass_the_check() -> None:
    for _ in range(20):
        check_mutexes.__wrapped__()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"_try": lambda self: lambda place: 0}, "exclude"),
        ({"_unlock": lambda self: lambda place: 0}, "anybody"),
    ],
)
def test_mutexes_that_fail_the_check_are_refused(
    monkeypatch: pytest.MonkeyPatch, broken: dict, said: str
) -> None:
    class Broken(Mutexes):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            for name, function in broken.items():
                setattr(self, name, function(self))

    monkeypatch.setattr(self_check, "Mutexes", Broken)
    with pytest.raises(StoreError, match=said):
        check_mutexes.__wrapped__()
    store = open_store("shared://")
    assert not store.degraded  # the check of this process was made before
