"""Every link, file path and command that the documents name exists."""

from __future__ import annotations

import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_gateway.cli.main import COMMANDS, command_of, parser_of

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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", document.read_text())
    missing = [(file, name) for file, name in named if f"\ndef {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_every_case_and_law_of_keys_and_money_names_its_tests() -> None:
    rows = (ROOT / "docs" / "cases.md").read_text().splitlines()
    numbers = [
        match[1] for row in rows if (match := re.match(r"\| ((?:law )?\d+) \|.*`tests/\S+::\w+` \|$", row))
    ]
    assert numbers == [*map(str, range(1, 52)), *(f"law {number}" for number in range(1, 13))]


@pytest.mark.soak
def test_links_to_elsewhere_answer() -> None:
    """A page that wants a login, or refuses programs, is there."""
    links = {link for one in DOCUMENTS for link in LINK.findall(one.read_text()) if link.startswith("http")}
    missing = []
    for link in sorted(links):
        asked = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0"})
        try:
            urllib.request.urlopen(asked, timeout=20).close()
        except urllib.error.HTTPError as error:
            error.close()
            missing += [link] if error.code in (404, 410) else []
        except OSError as error:
            pytest.skip(f"no way to {link}: {error}")
    assert missing == []


# ---------------------------------------------------------------- commands

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:flask-gateway|make) [^`]+)`")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def command_lines(document: Path) -> Iterator[str]:
    """The lines of the blocks that are commands, each without comment, redirection and what follows."""
    for language, text in BLOCK.findall(document.read_text()):
        if language.startswith("sh") or language == "console":
            for line in text.replace("\\\n", " ").splitlines():
                for found in re.findall(
                    r"(?:^|[\s(]|^env/bin/)(flask-gateway [^#|<>&)]*)|^(make [^#|<>&)]*)", line
                ):
                    yield "".join(found).strip()


def options_of(words: list[str]) -> str:
    """The help of a command, or of its action."""
    parser = parser_of(words[0], command_of(words[0]))
    below = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    action = next((choices[words[1]] for choices in below if words[1:] and words[1] in choices), None)
    return (action or parser).format_help()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_block_can_be_parsed(document: Path) -> None:
    """Those of blocks that no test can run, too."""
    for line in command_lines(document):
        program, *words = shlex.split(line)
        if program == "make":
            assert words[0] in TARGETS or words[0].startswith(".venv/"), line
        elif words != ["--help"]:
            assert parser_of(words[0], command_of(words[0])).parse_args(words[1:]), line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_in_a_sentence_exists(document: Path) -> None:
    for named in INLINE.findall(document.read_text()):
        program, *words = shlex.split(named)
        if program == "make":
            assert all(word in TARGETS for word in words if re.fullmatch("[a-z-]+", word)), named
            continue
        assert words[0] in COMMANDS, named
        for option in (word for word in words if word.startswith("--")):
            assert option in options_of(words), named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_stand_in_blocks_that_are_tested(document: Path) -> None:
    """``test_documented_commands.py`` reads blocks with a language, not indented ones."""
    text = BLOCK.sub("", document.read_text())
    assert not re.findall(
        r"^(?: {4,}|\t)(?:\$ )?(?:flask-gateway|make|curl|pip|\.venv/bin/\S+) .*", text, re.MULTILINE
    )
    assert "\n    ```" not in text
