"""Tests the page of metrics: every family once, and the present state."""

from __future__ import annotations

from kit.metric_figures import Counted


def test_the_exposition_has_every_family_once() -> None:
    figures = Counted().figures()
    memory = [value for (name, _), value in figures.items() if name == "process_resident_memory_bytes"]
    assert len(memory) == 1
    assert memory[0] > 1e6
