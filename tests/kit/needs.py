"""Skips tests whose programs are not installed, and names those programs at the end of the run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable

import pytest

_LACKING = re.compile(r"(\S+) is not installed")


def need(program: str) -> None:
    """Skip the test if the program is not installed. In CI the test fails instead."""
    if shutil.which(program) is None:
        lacking(f"{program} is not installed")


def lacking(what: str) -> None:
    """Skip the test for this reason. In CI the test fails instead."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def left_out(reasons: Iterable[str]) -> str:
    """One line about the tests skipped for a missing program; empty if there are none."""
    found = [match[1] for reason in reasons if (match := _LACKING.search(reason))]
    if not found:
        return ""
    names = ", ".join(sorted(set(found)))
    return f"{len(found)} tests were left out for want of {names}: `make test-deps` installs what they need"
