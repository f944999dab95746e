"""Plants secrets in the tests, and fails a test that prints one of them.

The check reads three sources:

* all output that pytest captures during set-up, call and teardown, that of servers and commands included;
* the captured output of every command that a test runs with ``subprocess.run``;
* at the end of the session, all files that servers have written to the folders of the tests.
"""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEY = "planted-caller-key-3f9a"
UPSTREAM_KEY = "planted-upstream-key-77c1"
LIVE_KEY = "live-caller-key"
LIVE_UPSTREAM_KEY = "live-upstream-key"
#: The prompt that the live tests send.
PROMPT = "Hello, planted prompt 5d1e"
#: The prefixes of all other planted keys.
OTHERS = ("live-key-of-", "planted-other-key", "planted-narrow-key", "planted-metrics-key", "planted-file")

SECRETS = (KEY, UPSTREAM_KEY, LIVE_KEY, LIVE_UPSTREAM_KEY, PROMPT, *OTHERS)


def found_in(text: str | bytes) -> list[str]:
    """The planted secrets that occur in a text."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return [secret for secret in SECRETS if secret.encode() in data]


def printed_by(files: Iterable[Path]) -> list[str]:
    """The files with a secret in them. Skips files with ``key`` in their name: tests put keys there."""
    written = [file for file in files if file.is_file() and not file.is_symlink() and "key" not in file.name]
    return [f"{file}: {found}" for file in written if (found := found_in(_read(file)))]


def _read(file: Path) -> bytes:
    """The bytes of a file; none if it is gone: threads of applications in this process still work."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


class CommandOutput:
    """Keeps the captured output of commands until the next check."""

    def __init__(self) -> None:
        self._texts: list[str | bytes] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every ``subprocess.run`` that captures its output."""
        patch, run = pytest.MonkeyPatch(), subprocess.run

        def recorded(*args: Any, **kwargs: Any) -> Any:
            done = run(*args, **kwargs)
            self._texts += [text for text in (done.stdout, done.stderr) if text]
            return done

        patch.setattr(subprocess, "run", recorded)
        try:
            yield
        finally:
            patch.undo()

    def secrets(self) -> list[str]:
        """The secrets printed since the last check."""
        texts, self._texts = self._texts, []
        return [secret for text in texts for secret in found_in(text)]


command_output = CommandOutput()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has printed or logged a secret. ``conftest.py`` registers this hook."""
    report = yield
    found = found_in("".join(text for _, text in report.sections)) + command_output.secrets()
    if report.passed and found:
        report.outcome, report.longrepr = "failed", f"{item.nodeid} has printed {found}"
    return report
