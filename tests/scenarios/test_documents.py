"""Every link and every file path that the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
#: A path in backquotes, perhaps with the name of a test behind it.
PATH = re.compile(
    r"`([A-Za-z0-9_.][\w./-]*/[\w.-]+\.(?:py|md|ya?ml|toml|json|sh|conf|svg|env|lua|service|socket))(?:::\w+)?`"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as they are made of their words on GitHub and GitLab."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if not link.startswith(("http://", "https://")):
            name, _, anchor = link.partition("#")
            target = document.parent / name if name else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_exists(document: Path) -> None:
    bases = (ROOT, ROOT / "flask_gateway", document.parent)
    missing = [
        path
        for path in PATH.findall(document.read_text())
        if not any((base / path).exists() for base in bases)
    ]
    assert missing == []
