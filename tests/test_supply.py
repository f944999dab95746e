"""What is installed at run time: all of it pinned by digest, listed, explained, and not much."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


def test_at_most_twenty_packages():
    assert 10 < len(PINS) <= 20


def test_each_is_pinned_by_the_digests_of_its_files():
    bill = runpy.run_path(str(ROOT / "deploy/sbom.py"))["bill"]()
    assert [(one["name"], one["version"]) for one in bill["components"]] == PINS
    assert all(one["hashes"] for one in bill["components"])


def test_each_is_there_for_a_reason_that_is_written_down():
    said = (ROOT / "docs/security.md").read_text()
    assert [name for name, _ in PINS if f"| {name} |" not in said] == []


def test_each_line_of_the_security_list_is_answered():
    said = (ROOT / "docs/security.md").read_text()
    assert re.findall(r"^\| (S\d+) \|", said, re.MULTILINE) == [f"S{number}" for number in range(1, 27)]
    # The tests that it names are there.
    for file, test in re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", said):
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}" in (ROOT / file).read_text(), test
