"""Tests which processes live: by their number, and by what proc says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit.stores import Child

from flask_gateway.state.processes import Processes

# ---------------------------------------------------------------- processes


def proc(folder: Path, pid: int, state: str = "S", start: int = 5, name: str = "a) b") -> Processes:
    (folder / str(pid)).mkdir(exist_ok=True)
    fields = [state, *("0" for _ in range(18)), str(start), "0"]
    (folder / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    return Processes(str(folder))


def test_this_process_lives_and_has_one_number() -> None:
    processes = Processes()
    assert processes.possible
    assert processes.own() == processes.own() < 1 << 53
    assert not processes.ended(processes.own())


@pytest.mark.parametrize(
    ("then", "ended"),
    [
        pytest.param({"state": "T"}, False, id="stopped"),
        pytest.param({"state": "D"}, False, id="waiting"),
        pytest.param({"state": "Z"}, True, id="not waited for"),
        pytest.param({"state": "X"}, True, id="dead"),
        pytest.param({"start": 6}, True, id="another with its pid"),
        pytest.param({"name": ") Z 1 2 3"}, False, id="a name that looks like a state"),
    ],
)
def test_the_state_of_a_process_is_read_from_proc(tmp_path: Path, then: dict, ended: bool) -> None:
    number = proc(tmp_path, os.getpid()).own()
    assert proc(tmp_path, os.getpid(), **then).ended(number) is ended


def test_a_process_of_unknown_state_counts_as_alive(tmp_path: Path) -> None:
    """The pid exists, but /proc does not show it: mounted with hidepid, or no descriptor is left."""
    number = proc(tmp_path, os.getpid()).own()
    (tmp_path / str(os.getpid()) / "stat").unlink()
    assert not Processes(str(tmp_path)).ended(number)
    assert not Processes(str(tmp_path)).possible


def test_no_such_pid_is_ended() -> None:
    with Child(lambda: None) as child:
        number = Processes().own() >> 22 << 22 | child.pid
        child.wait()
    assert Processes().ended(number)
