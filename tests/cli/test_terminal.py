"""Tests colours and progress on terminals and in pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.waiting import until

from flask_gateway.cli import terminal

ROOT = Path(__file__).parents[2]


# ---------------------------------------------------------------- the terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colours"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours(stream: io.StringIO, environ: dict[str, str], colours: bool) -> None:
    assert terminal.coloured(stream, environ) is colours


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SILENCE", 0.01)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        with terminal.ProgressLine("checks", 3, stream) as progress:
            progress.step()
            assert not shown or until(lambda stream=stream: stream.getvalue().count("…"))
        assert ("… 1 of 3 checks done" in stream.getvalue()) is shown
        assert not shown or stream.getvalue().endswith("\r\x1b[K")


def test_doctor_in_a_pipe_has_no_colours() -> None:
    command = [sys.executable, "-m", "flask_gateway", "doctor", "http://127.0.0.1:9"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert "\x1b" not in done.stdout + done.stderr
