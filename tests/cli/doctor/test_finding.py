"""Tests how a finding of the doctor is written."""

from __future__ import annotations

from flask_gateway.cli.doctor.finding import fail, ok, warn


def test_a_line() -> None:
    assert str(ok("files: enough")) == "ok    files: enough"
    assert str(warn("a\nb", "c")) == "warn  a\\nb  -> c"
    assert str(fail("a", "b")).startswith("fail  a")
