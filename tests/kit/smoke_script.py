"""Runs ``deploy/smoke.sh`` and returns its result."""

from __future__ import annotations

import subprocess

from kit.needs import need
from kit.servers import ROOT

CHECKS = ["health", "refusal", "models", "completion", "limit headers", "stream", "breakers"]


def smoke(*arguments: str) -> tuple[int, list[str], str]:
    """The exit status, the lines of standard output, and standard error."""
    need("curl")
    command = ["sh", str(ROOT / "deploy" / "smoke.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.splitlines(), done.stderr
