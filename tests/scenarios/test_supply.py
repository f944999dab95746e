"""Checks the run-time packages: few, pinned by digest, listed and explained."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


def test_at_most_twenty_packages_are_installed():
    assert 10 < len(PINS) <= 20


def test_each_package_is_pinned_by_digests():
    bill = runpy.run_path(str(ROOT / "deploy/sbom.py"))["bill"]()
    assert [(one["name"], one["version"]) for one in bill["components"]] == PINS
    assert all(one["hashes"] for one in bill["components"])


def packages(*faults: str, unknown: int = 0) -> str:
    """The output of pip-audit for a package with these faults, and for packages that no database knows."""
    known = {"name": "flask", "version": "1", "vulns": [{"id": fault} for fault in faults]}
    missed = {"name": "x", "skip_reason": "not found"}
    return json.dumps({"dependencies": [known, *[missed] * unknown], "fixes": []})


@pytest.mark.parametrize(
    ("said", "strict", "where_possible"),
    [
        ([packages()], 0, 0),
        ([packages("PYSEC-1")], 1, 1),
        ([packages("PYSEC-1", unknown=3)], 1, 1),
        ([packages(unknown=1), packages()], 0, 0),
        ([packages(unknown=1), packages("PYSEC-1")], 1, 1),
        ([packages(unknown=1), ""], 69, 0),
        (["", "Traceback"], 69, 0),
        (['{"dependencies": []}', "[]"], 69, 0),
    ],
)
def test_an_audit_without_a_database_is_not_an_audit_without_findings(
    said: list[str], strict: int, where_possible: int, capsys: pytest.CaptureFixture[str]
):
    audit = runpy.run_path(str(ROOT / "deploy/audit.py"))
    for options, status in (([], strict), (["--where-possible"], where_possible)):
        answers = iter(said)
        audit["main"].__globals__["ask"] = lambda service, answers=answers: next(answers)
        assert audit["main"](options) == status
        assert ("audit: NOT DONE" in capsys.readouterr().out) == (strict == 69)


def test_ci_audits_and_fails_on_findings():
    assert "make audit AUDIT=--where-possible\n" in (ROOT / ".ci/run").read_text()


def test_the_reason_for_each_package_is_documented():
    said = (ROOT / "docs/security.md").read_text()
    assert [name for name, _ in PINS if f"| {name} |" not in said] == []


def test_each_line_of_the_security_list_is_answered():
    said = (ROOT / "docs/security.md").read_text()
    assert re.findall(r"^\| (S\d+) \|", said, re.MULTILINE) == [f"S{number}" for number in range(1, 29)]
    # The tests that the list names exist.
    for file, test in re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", said):
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}" in (ROOT / file).read_text(), test
