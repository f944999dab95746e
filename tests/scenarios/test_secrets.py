"""Checks that a printed secret fails the test that printed it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.planted import SECRETS, printed_by, pytest_runtest_makereport


def report_of(item: pytest.Item, printed: str, when: str) -> pytest.TestReport:
    """The report on one phase of a passing test that has printed something."""
    passed = pytest.TestReport(
        item.nodeid, item.location, {}, "passed", None, when, [("Captured stderr", printed)]
    )
    caught: Any = pytest_runtest_makereport(item, None)  # type: ignore[arg-type]
    next(caught)
    with pytest.raises(StopIteration) as done:
        caught.send(passed)
    return done.value.value


@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_printed_secret_fails_a_test(request: pytest.FixtureRequest, secret: str, when: str) -> None:
    assert report_of(request.node, f"Bearer {secret}\n", when).failed
    assert report_of(request.node, "Bearer ****\n", when).passed


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_secret_printed_by_a_command_fails_a_test(request: pytest.FixtureRequest, stream: str) -> None:
    command = [sys.executable, "-c", f"import sys; print({SECRETS[0]!r}, file=sys.{stream})"]
    subprocess.run(command, capture_output=True, check=True)
    assert report_of(request.node, "", "call").failed
    assert report_of(request.node, "", "call").passed, "the secret is reported once"


def test_a_secret_in_a_file_of_a_server_is_found(tmp_path: Path) -> None:
    (tmp_path / "errors").write_bytes(b"\xff" + SECRETS[1].encode())
    (tmp_path / "access.log").write_text("Bearer ****")
    (tmp_path / "web.key").write_text(SECRETS[0])  # a key file for a server
    (found,) = printed_by(tmp_path.rglob("*"))
    assert found.startswith(f"{tmp_path / 'errors'}: ")
    (tmp_path / "errors").unlink()  # otherwise the check at the end of the session would find it
