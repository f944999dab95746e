"""Tests that the C library is asked to return large blocks, and that one that cannot breaks nothing."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from flask_gateway.server import malloc


class Library:
    trimmed: int | None = None

    def malloc_trim(self, kept: int) -> int:
        self.trimmed = kept
        return 1

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


@pytest.mark.parametrize("library", [object(), Library()])
def test_free_memory_is_given_back_where_the_library_can(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    malloc.give_back_free_memory()
    assert getattr(library, "trimmed", 0) == 0
