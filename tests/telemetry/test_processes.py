"""The ``process_*`` metrics of all workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flask_gateway.telemetry.metric_families import process_file
from flask_gateway.telemetry.processes import WorkersCollector, workers


def test_a_worker_that_ended_or_left_a_broken_file_has_no_figures(tmp_path: Path) -> None:
    for slot, text in ((0, str(os.getpid())), (1, str(2**30)), (2, "")):
        process_file(str(tmp_path), slot).write_text(text)
    found = workers(str(tmp_path))
    assert found == {0: os.getpid(), 1: 2**30}
    samples = [sample for family in WorkersCollector(found).collect() for sample in family.samples]
    assert {sample.labels["worker"] for sample in samples} == {"0"}
    assert {sample.name for sample in samples} >= {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }


@pytest.mark.parametrize("directory", [None, "/nowhere"])
def test_a_process_on_its_own_shows_itself(directory: str | None) -> None:
    assert workers(directory) == {0: os.getpid()}
