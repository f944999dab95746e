"""Secrets that are planted in the tests, and the net that nothing printed gets through with one.

What is looked at: all that pytest captures of a test, its set-up and its end, servers and commands that write
to the same places included; what a command has said that a test has run; and at the end all files that
servers have written: logs, and whatever else lies in the folders of the tests.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEY = "planted-caller-key-3f9a"
UPSTREAM_KEY = "planted-upstream-key-77c1"
LIVE_KEY = "live-caller-key"
LIVE_UPSTREAM_KEY = "live-upstream-key"
#: What the live tests ask a model.
PROMPT = "Hello, planted prompt 5d1e"
#: What every other key that is planted begins with.
OTHERS = ("live-key-of-", "planted-other-key", "planted-narrow-key", "planted-metrics-key", "planted-file")

SECRETS = (KEY, UPSTREAM_KEY, LIVE_KEY, LIVE_UPSTREAM_KEY, PROMPT, *OTHERS)


def found_in(text: str | bytes) -> list[str]:
    """The secrets that a text has in it."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return [secret for secret in SECRETS if secret.encode() in data]


def printed_by(files: Iterable[Path]) -> list[str]:
    """The files with a secret in them. Where a test keeps a key for a server to read, the name says so."""
    kept = [file for file in files if file.is_file() and not file.is_symlink() and "key" not in file.name]
    return [f"{file}: {found}" for file in kept if (found := found_in(file.read_bytes()))]


class Overheard:
    """What commands have said since it was last asked."""

    def __init__(self) -> None:
        self._said: list[str | bytes] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To whatever is run with its output captured."""
        patch, run = pytest.MonkeyPatch(), subprocess.run

        def overheard(*args: Any, **kwargs: Any) -> Any:
            done = run(*args, **kwargs)
            self._said += [said for said in (done.stdout, done.stderr) if said]
            return done

        patch.setattr(subprocess, "run", overheard)
        try:
            yield
        finally:
            patch.undo()

    def secrets(self) -> list[str]:
        said, self._said = self._said, []
        return [secret for text in said for secret in found_in(text)]
