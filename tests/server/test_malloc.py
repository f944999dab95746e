"""Tests that the C library is asked to return large blocks, and that one that cannot breaks nothing."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from flask_gateway.server import malloc


class Library:
    def __init__(self, *, works: bool = True) -> None:
        self.asked: list[tuple[int, int]] = []
        self.works = works

    def mallopt(self, parameter: int, value: int) -> int:
        self.asked.append((parameter, value))
        return int(self.works)


def test_the_thresholds_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert malloc.give_back_large_blocks()
    assert library.asked == [(-3, malloc.LARGE_BLOCK), (-1, malloc.KEPT_FREE), (-8, malloc.ARENAS)]


@pytest.mark.parametrize("library", [object(), Library(works=False)])
def test_a_library_without_thresholds_is_left_alone(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert not malloc.give_back_large_blocks()
