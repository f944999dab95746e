"""The rings of the operator's page: readers, a writer that dies, memory that is missing, other layouts."""

from __future__ import annotations

import os
import threading
from mmap import mmap

import pytest
from kit.needs import need

from flask_gateway.telemetry import rings
from flask_gateway.telemetry.rings import (
    ALL,
    HEADS,
    Marked,
    RingFile,
    RingWriter,
    Shape,
    newest,
    newest_first,
    numbered,
)

SHAPE = Shape(0, HEADS, 8, 256)
REGION = 65536


@pytest.fixture
def file() -> int:
    if not hasattr(os, "memfd_create"):
        need("memfd")
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 2 * REGION)
    return descriptor


def writer(file: int, base: int = 0) -> RingWriter:
    return RingWriter(mmap(file, REGION, offset=base), file, base, SHAPE)


def kept(file: int, base: int = 0) -> list[bytes]:
    return list(newest_first(RingFile(file), base, SHAPE))


def test_an_empty_ring_and_an_empty_file_have_nothing(file: int) -> None:
    assert kept(file) == []
    os.ftruncate(file, 0)
    assert newest(file, 0, SHAPE) == 0


def test_reading_takes_no_memory_and_follows_a_file_that_grows(file: int) -> None:
    os.ftruncate(file, REGION)
    ring, rings = writer(file), RingFile(file)
    for number in range(3):
        ring.append(b"%d" % number)
    os.ftruncate(file, 3 * REGION)
    writer(file, 2 * REGION).append(b"other")
    blocks = os.fstat(file).st_blocks
    for marked, needles in ((ALL, ()), (Marked(3, 1), ()), (ALL, (b"none",))):
        for base in range(0, 3 * REGION, REGION):
            list(newest_first(rings, base, SHAPE, needles, lambda body: False, marked))
    assert os.fstat(file).st_blocks == blocks
    assert list(newest_first(rings, 2 * REGION, SHAPE)) == [b"other"]


def test_the_newest_comes_first_and_the_oldest_is_lost(file: int) -> None:
    ring = writer(file)
    for number in range(21):
        assert ring.append(b"%d" % number)
    assert kept(file) == [b"%d" % number for number in range(20, 12, -1)]


def test_a_successor_goes_on_after_a_killed_writer(file: int) -> None:
    ring = writer(file)
    for number in range(11):
        ring.append(b"%d" % number)
    writer(file).append(b"next")
    assert kept(file)[:2] == [b"next", b"10"]
    assert len(kept(file)) == 8


def test_each_writer_has_its_region(file: int) -> None:
    writer(file).append(b"first")
    writer(file, REGION).append(b"second")
    assert (kept(file), kept(file, REGION)) == ([b"first"], [b"second"])


def test_an_entry_in_the_middle_of_its_write_is_left_out(file: int) -> None:
    ring = writer(file)
    for number in range(5):
        ring.append(b"%d" % number)
    place = HEADS + 5 % SHAPE.entries * SHAPE.size
    os.pwrite(file, b"\xff", place + 16)  # the body of number 5
    assert kept(file) == [b"3", b"2", b"1", b"0"]


def test_entries_of_other_code_count_as_none(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writer(file).append(b"old")
    monkeypatch.setattr(rings, "LAYOUT", 99)
    assert kept(file) == []
    writer(file).append(b"new")
    assert kept(file) == [b"new"]


def test_an_entry_that_is_too_long_is_refused(file: int) -> None:
    ring = writer(file)
    assert not ring.append(b"x" * (SHAPE.longest + 1))
    assert ring.append(b"x" * SHAPE.longest)
    assert kept(file) == [b"x" * SHAPE.longest]


def test_without_memory_an_entry_is_dropped_and_the_next_one_tries(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: int) -> None:
        raise OSError("no memory")

    ring = writer(file)
    with monkeypatch.context() as without:
        without.setattr(os, "posix_fallocate", full)
        assert not ring.append(b"lost")
    assert ring.append(b"kept")
    assert kept(file) == [b"kept"]


def test_threads_lose_no_entry_and_a_reader_sees_whole_ones(file: int) -> None:
    ring, threads = writer(file), 4

    def write() -> None:
        for number in range(500):
            ring.append(b"%d" % number * 40)

    running = [threading.Thread(target=write) for _ in range(threads)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        for body in kept(file):
            assert len(body) % 40 == 0
    for thread in running:
        thread.join()
    assert newest(file, 0, SHAPE) == 500 * threads


def test_entries_without_a_text_are_passed_over(file: int) -> None:
    ring = writer(file)
    for number in range(6):
        ring.append(b"odd" if number % 2 else b"even")
    assert list(newest_first(RingFile(file), 0, SHAPE, [b"odd"])) == [b"odd"] * 3
    assert list(newest_first(RingFile(file), 0, SHAPE, [b"o", b"even"])) == []
    assert list(newest_first(RingFile(file), 0, SHAPE, [b"d", b"o"])) == [b"odd"] * 3


def test_a_text_over_the_edge_of_two_entries_is_in_none(file: int) -> None:
    ring = writer(file)
    for end in (b"a", b"b"):
        ring.append(end * SHAPE.longest)
    data = os.pread(file, 2 * SHAPE.size, HEADS + SHAPE.size)
    for length in range(2, 40):
        text = data[SHAPE.size - 1 : SHAPE.size + length]
        assert list(newest_first(RingFile(file), 0, SHAPE, [text])) == []
    assert list(newest_first(RingFile(file), 0, SHAPE, [b"aa"])) == [b"a" * SHAPE.longest]


def test_entries_are_read_by_their_numbers(file: int) -> None:
    ring = writer(file)
    for number in range(1, 21):
        ring.append(b"%d" % number)
    for first, last in ((13, 20), (15, 17), (20, 20), (18, 17), (21, 20)):
        found = [int(body) for body in numbered(RingFile(file), 0, SHAPE, range(first, last + 1))]
        assert found == list(range(last, first - 1, -1))


def test_entries_without_a_mark_are_not_read(file: int) -> None:
    ring = writer(file)
    for number in range(12):
        ring.append(b"%d" % number, number % 3 << 8 | 7)
    for mask, value, found in ((0xFF00, 0x200, [11, 8, 5]), (0xFF, 7, range(11, 3, -1)), (0xFF, 6, [])):
        marked = Marked(mask, value)
        assert [int(body) for body in newest_first(RingFile(file), 0, SHAPE, (), None, marked)] == list(found)


def test_older_entries_are_found_without_reading_the_newer_ones(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rings, "_DISORDER", 1)
    ring = writer(file)
    for number in range(20):
        ring.append(b"%02d" % number)
    for oldest in range(8, 24):
        asked: list[bytes] = []

        def is_older(body: bytes, wanted: int = oldest, seen: list[bytes] = asked) -> bool:
            seen.append(body)
            return int(body) < wanted

        found = [int(body) for body in newest_first(RingFile(file), 0, SHAPE, (), is_older)]
        newer = [number for number in found if number >= oldest]
        assert found == [*newer, *range(min(oldest, 20) - 1, 11, -1)], oldest
        assert len(newer) <= 1
        assert len(asked) <= 4


def test_a_batch_is_what_its_entries_are(file: int) -> None:
    ring = writer(file)
    assert ring.extend([(b"first", 0), (b"x" * (SHAPE.longest + 1), 0), (b"second", 0)]) == 2
    assert ring.extend([]) == 0
    assert ring.append(b"third")
    assert kept(file) == [b"third", b"second", b"first"]
    assert newest(file, 0, SHAPE) == 3
