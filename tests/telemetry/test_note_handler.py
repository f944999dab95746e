"""Warnings are kept as notes and still reach standard error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import logging
from flask_gateway.telemetry.notes import NoteWriter, keep_warnings
kept = []
keep_warnings(NoteWriter(kept.append))
logging.getLogger("flask_gateway.auth").warning("told once")
logging.getLogger("flask_gateway.auth").info("not told")
assert len(kept) == 1, kept
"""


def test_a_warning_that_is_kept_is_written_once_too() -> None:
    """Python's handler of last resort is not used for a logger that has another one."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "told once\n")
