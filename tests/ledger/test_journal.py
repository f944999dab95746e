"""The journal of a worker: appended whole, over several files, and through a disk that refuses."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from kit.ledger_lines import opened, settled

from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Line, decode, encode


def lines(data: Path) -> list[Line | None]:
    files = sorted(data.joinpath("journal").iterdir())
    return [line for file in files for line, *_ in decode(file.read_bytes())]


def test_lines_of_all_threads_are_whole_and_in_several_files(data: Path) -> None:
    journal = Journal(data / "journal", file_bytes=5000)

    def work(first: int) -> None:
        for n in range(first, first + 50):
            assert journal.write(settled(n))

    threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = lines(data)
    assert sorted(line.n for line in written if line) == [100 * k + n for k in range(4) for n in range(50)]
    names = [file.name for file in data.joinpath("journal").iterdir()]
    assert len(names) > 4
    assert all(name.startswith(journal.worker) for name in names)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in data.joinpath("journal").iterdir())
    journal.close()


def test_lines_wait_in_their_order_while_the_disk_refuses(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[bytes] = []
    journal = Journal(data / "journal", waiting=3)
    journal.dropped = dropped.append
    assert journal.write(opened(1))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_append", lambda text: False)
        assert [journal.write(settled(n)) for n in range(1, 6)] == [False] * 5
    assert journal.degraded
    assert journal.lost == 2
    assert not journal.write(settled(6))  # behind the waiting ones, though the disk takes it again
    assert journal.lost == 3
    assert dropped == [encode(settled(n)) for n in (1, 2, 3)]
    journal.sync()
    assert not journal.degraded
    assert journal.write(settled(7))
    assert [line.n for line in lines(data) if line] == [1, 4, 5, 6, 7]


def test_a_line_that_the_disk_tore_is_written_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(data / "journal")
    journal.write(opened(1))
    real, tears = os.write, [True]

    def write(fd: int, text: bytes) -> int:
        return real(fd, text[:20]) if tears.pop() else real(fd, text)

    monkeypatch.setattr(os, "write", lambda fd, text: write(fd, text) if tears else real(fd, text))
    assert not journal.write(settled(1))
    journal.sync()
    assert journal.write(settled(2))
    assert [line and line.n for line in lines(data)] == [1, None, 1, 2]


def test_a_directory_that_is_gone_costs_no_call(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(data / "nowhere")
    assert [journal.write(settled(n)) for n in range(3)] == [False] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Calls go on" in caplog.text
    journal.close()


def test_calls_are_numbered_from_one(data: Path) -> None:
    journal = Journal(data / "journal")
    assert [journal.number() for _ in range(3)] == [1, 2, 3]
