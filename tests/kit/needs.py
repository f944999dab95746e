"""Programs that tests need and a machine may lack. Such tests are left out, and the run ends by saying so."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable

import pytest

_LACKING = re.compile(r"(\S+) is not installed")


def need(program: str) -> None:
    """Skip the test where the program is not installed. In CI it is, or else the test fails."""
    if shutil.which(program) is None:
        lacking(f"{program} is not installed")


def lacking(what: str) -> None:
    """Skip the test for want of something. In CI the test fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def left_out(reasons: Iterable[str]) -> str:
    """One line about the tests that were skipped for want of a program; empty when there are none."""
    found = [match[1] for reason in reasons if (match := _LACKING.search(reason))]
    if not found:
        return ""
    names = ", ".join(sorted(set(found)))
    return f"{len(found)} tests were left out for want of {names}: `make test-deps` installs what they need"
