"""The library reads our metric files, every byte is allocated before use, and no figure is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from flask_gateway.telemetry import metric_files
from flask_gateway.telemetry.metric_files import FILE_SIZE, MetricFiles, values_in


class Room:
    """A clock turned by hand, and a disk that can be filled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.full = 0.0, False
        self._allocate = os.posix_fallocate
        monkeypatch.setattr(metric_files.os, "posix_fallocate", self.allocate)

    def __call__(self) -> float:
        return self.now

    def allocate(self, *arguments: Any) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._allocate(*arguments)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


class Process:
    """The metrics of one worker."""

    def __init__(self, folder: Path, slot: int, clock: Callable[[], float]) -> None:
        self.files = MetricFiles(folder, slot, clock)
        before, values.ValueClass = values.ValueClass, values_in(self.files)
        try:
            registry = CollectorRegistry()
            self.calls = Counter("calls", "Calls.", ["who"], registry=registry)
            self.seconds = Histogram("seconds", "Seconds.", buckets=(1.0,), registry=registry)
            self.now = Gauge("now", "Now.", multiprocess_mode="livesum", registry=registry)
        finally:
            values.ValueClass = before
        self._class = values_in(self.files)

    def call(self, who: str = "a", times: int = 1) -> None:
        before, values.ValueClass = values.ValueClass, self._class
        try:
            self.calls.labels(who).inc(times)
        finally:
            values.ValueClass = before


def shown(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_the_library_adds_up_the_files_of_several_workers(tmp_path: Path, room: Room) -> None:
    for slot in range(3):
        process = Process(tmp_path, slot, room)
        process.call(times=slot + 1)
        process.call("ü" * 7)
        process.seconds.observe(0.5)
        process.now.set(2)
    found = shown(tmp_path)
    assert (found["calls_totala"], found["calls_total" + "ü" * 7]) == (6, 3)
    assert (found["seconds_count"], found["seconds_sum"], found["now"]) == (3, 1.5, 6)


@pytest.mark.parametrize("length", range(9))
def test_entries_of_any_length_have_the_library_s_format(tmp_path: Path, room: Room, length: int) -> None:
    process = Process(tmp_path, 0, room)
    process.call("x" * length, 3)
    process.call("next", 4)
    theirs = MmapedDict(str(tmp_path / "counter_0.db"), read_mode=True)  # type: ignore[no-untyped-call]
    found = sorted(value for _, value, _ in theirs.read_all_values())  # type: ignore[no-untyped-call]
    theirs.close()  # type: ignore[no-untyped-call]
    assert found == [3, 4]


def test_the_next_worker_continues_the_files(tmp_path: Path, room: Room) -> None:
    Process(tmp_path, 0, room).call(times=5)
    after = Process(tmp_path, 0, room)
    after.call(times=2)
    assert after.calls.labels("a")._value.get() == 7
    assert shown(tmp_path)["calls_totala"] == 7


def test_a_file_grows_and_every_byte_is_allocated(tmp_path: Path, room: Room) -> None:
    process = Process(tmp_path, 0, room)
    for number in range(1500):
        process.call(f"{number}")
    size = os.stat(tmp_path / "counter_0.db")
    assert size.st_size > FILE_SIZE
    assert size.st_blocks * 512 >= size.st_size
    assert len([name for name in shown(tmp_path) if name.startswith("calls_total")]) == 1500


@pytest.mark.parametrize("when", ["before the start", "while it grows"])
def test_without_space_nothing_fails_and_no_figure_is_lost(
    tmp_path: Path, room: Room, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    room.full = when == "before the start"
    process = Process(tmp_path, 0, room)
    process.files.open("counter")
    room.full = True
    for number in range(1500):
        process.call(f"{number}")
        process.call(f"{number}")
        process.now.set(3)
        process.seconds.observe(2)
    assert "no space for metrics" in process.files.trouble()
    assert [record for record in caplog.messages if "no space" in record] == caplog.messages[:1]
    room.full, room.now = False, room.now + metric_files.RETRY
    process.call("1499")
    assert process.files.trouble() == ""
    assert "complete again" in caplog.messages[-1]
    assert len(caplog.messages) == 2
    found = shown(tmp_path)
    assert sum(value for name, value in found.items() if name.startswith("calls_total")) == 3001
    assert (found["seconds_count"], found["now"]) == (1500, 3)


def test_space_is_checked_once_a_second(tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.full = True
    asked = []
    monkeypatch.setattr(metric_files, "_create", lambda path: asked.append(path) or room.allocate())
    process = Process(tmp_path, 0, room)
    for _ in range(100):
        process.call()
    assert len(asked) == 1
    room.now += metric_files.RETRY
    process.call()
    process.call()
    assert len(asked) == 2


def test_a_scrape_writes_the_kept_values_once_there_is_space(tmp_path: Path, room: Room) -> None:
    room.full = True
    process = Process(tmp_path, 0, room)
    process.call(times=4)
    room.full, room.now = False, 5.0
    assert process.files.trouble() == ""
    assert shown(tmp_path)["calls_totala"] == 4


def test_counts_kept_without_space_add_to_the_previous_worker_s(tmp_path: Path, room: Room) -> None:
    Process(tmp_path, 0, room).call(times=10)
    room.full = True
    after = Process(tmp_path, 0, room)
    after.call(times=3)
    room.full, room.now = False, 5.0
    after.call()
    assert shown(tmp_path)["calls_totala"] == 14


def test_a_missing_directory_is_reported_like_missing_space(tmp_path: Path, room: Room) -> None:
    process = Process(tmp_path / "gone", 0, room)
    process.call()
    assert "No such file" in process.files.trouble()


@pytest.mark.parametrize("damage", [b"\xff" * 64, b"\xff\xff\xff\x7f", os.urandom(FILE_SIZE)])
def test_a_damaged_file_starts_empty(tmp_path: Path, room: Room, damage: bytes) -> None:
    Process(tmp_path, 0, room).call(times=10)
    with (tmp_path / "counter_0.db").open("r+b") as file:
        file.write(damage)
    Process(tmp_path, 0, room).call(times=3)
    assert shown(tmp_path)["calls_totala"] == 3
