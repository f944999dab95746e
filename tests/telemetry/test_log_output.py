"""Log lines are whole and bounded, and never block on their reader."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from flask_gateway.telemetry.log_output import LONGEST, MOST_WAITING, LineWriter

LINE = b"x" * 200 + b"\n"


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def read_all(descriptor: int, until: bytes, seconds: float = 10.0) -> bytes:
    got, deadline = b"", time.monotonic() + seconds
    os.set_blocking(descriptor, False)
    while until not in got and time.monotonic() < deadline:
        try:
            got += os.read(descriptor, 1 << 16)
        except BlockingIOError:
            time.sleep(0.01)
    return got


def in_a_thread(do: object, seconds: float = 10.0) -> bool:
    """Whether the function returns in time."""
    thread = threading.Thread(target=do, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def fill(writer: LineWriter, lines: int) -> None:
    for _ in range(lines):
        writer.write(LINE)


def test_a_line_is_written_before_the_call_returns(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1]).write(b"one\n")
    assert os.read(pipe[0], 100) == b"one\n"


def test_a_full_pipe_blocks_no_thread_and_lost_lines_are_reported(pipe: tuple[int, int]) -> None:
    writer, lost = LineWriter(pipe[1]), [0]
    writer.on_drop = lambda lines: lost.append(lines)
    lines = 2 * (MOST_WAITING + (1 << 20)) // len(LINE)
    assert in_a_thread(lambda: fill(writer, lines))
    assert sum(lost)
    told = f"{sum(lost)} lines of the log were dropped".encode()
    got = read_all(pipe[0], told)
    assert told in got
    assert got.count(LINE) == lines - sum(lost)
    writer.write(b"again\n")
    assert b"again\n" in read_all(pipe[0], b"again\n")


def test_the_shared_descriptor_keeps_its_mode(pipe: tuple[int, int]) -> None:
    fill(LineWriter(pipe[1]), 1000)
    assert not fcntl.fcntl(pipe[1], fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_pipe_that_cannot_be_reopened_blocks_no_thread(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        writer = LineWriter(pipe[1])
    assert in_a_thread(lambda: fill(writer, 1000))
    assert read_all(pipe[0], b"never", 0.5).count(LINE) == 1000


def test_a_journald_that_does_not_read_blocks_no_thread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer, lost = LineWriter(ours.fileno()), [0]
        writer.on_drop = lambda lines: lost.append(lines)
        assert in_a_thread(lambda: fill(writer, 20_000))
        assert sum(lost)
        assert b"were dropped" in read_all(theirs.fileno(), b"were dropped")


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno())
        fill(writer, 1000)
        writer.flush(10)
    assert (tmp_path / "log").read_bytes() == LINE * 1000


def test_a_hanging_disk_blocks_two_threads_briefly_and_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, hangs, held = os.write, threading.Event(), [0]

    with (tmp_path / "log").open("wb") as file:
        disk = file.fileno()

        def hanging(descriptor: int, data: bytes) -> int:
            if descriptor == disk:  # other threads of this process write elsewhere
                held[0] += 1
                hangs.wait(30)
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", hanging)
        writer = LineWriter(disk)
        first = threading.Thread(target=writer.write, args=(LINE,))
        first.start()
        time.sleep(0.2)
        assert in_a_thread(lambda: fill(writer, 100))
        assert held[0] <= 2  # the first, and the writer's own thread
        hangs.set()
        first.join()
        writer.flush(10)
    assert (tmp_path / "log").read_bytes() == LINE * 101


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer, lost = LineWriter(descriptor), [0]
    writer.on_drop = lambda lines: lost.append(lines)
    fill(writer, 10)
    assert sum(lost) == 10


def test_a_closed_pipe_loses_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    writer, lost = LineWriter(pipe[1]), [0]
    writer.on_drop = lambda lines: lost.append(lines)
    os.close(pipe[0])
    fill(writer, 10)
    assert sum(lost) == 10


def test_flush_waits_for_a_bounded_time(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    fill(writer, 1000)
    assert in_a_thread(lambda: writer.flush(0.1))
    threading.Timer(0.1, read_all, (pipe[0], b"never", 2.0)).start()
    writer.flush(10)
    assert not writer._waiting


def test_a_forked_process_writes_only_its_own_lines(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    fill(writer, 1000)
    child = os.fork()
    if not child:
        writer.write(b"of the child\n")
        writer.flush(5)
        os._exit(0)
    got = read_all(pipe[0], b"of the child\n")
    os.waitpid(child, 0)
    got += read_all(pipe[0], b"never", 0.3)
    assert got.count(LINE) == 1000
    assert got.count(b"of the child\n") == 1


def test_long_lines_are_cut_and_many_lines_are_written_in_pieces(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1]).write(b"y" * 9000 + b"\n" + LINE * 40)
    first, *others = read_all(pipe[0], b"never", 0.2).splitlines(keepends=True)
    assert len(first) <= LONGEST
    assert first.endswith(b"y...\n")
    assert others == [LINE] * 40
