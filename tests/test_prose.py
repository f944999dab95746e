"""Checks that docstrings, comments, messages, test names and documents are plain English.

The rule: subject, verb, object, in that order; the field's own word; one fact a sentence.
The check knows the words and openings that broke the rule most often. It cannot see a clumsy sentence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = [*sorted((ROOT / "flask_gateway").rglob("*.py")), ROOT / "gunicorn.conf.py", ROOT / "wsgi.py"]
TESTS = [*sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
SET_OF_TESTS = frozenset(TESTS)
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]

#: Words and phrases that a reader of English has to translate.
WORDS = re.compile(
    r"""\b(
        told\ of | said\ of | gone\ to | asked\ for\ of | thought\ of\ as | heard\ of
      | lest | anew | of\ late | thereby | likewise | whoever | whomever | whatsoever | thereof | hitherto
      | give[sn]?\ (the\ interpreter|it)\ away | collector\ of\ garbage | be\ it\ only | but\ a\ matter\ of
      | all\ the\ same | as\ ever | none\ the\ worse | to\ no\ purpose | under\ way | at\ hand
      | beside | mostly | in\ its\ turn | doorstep | the\ door
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
#: No sentence begins with these words, unless it is a question.
OPENINGS = re.compile(
    r"(?:^|(?<=[.!?:]\s)|(?<=\n\n))\s*(Who|What|Whoever|Whom|Whose|Nobody)\s[^?]*?(?:[.!](?:\s|$)|$)"
)

#: A text and the line on which it begins.
Text = tuple[int, str]


#: A comment. A string that looks like one is read twice, which does no harm.
COMMENT = re.compile(r"(?:^|\s)#[:!]?(?=\s|$)(.*)")


def comments(source: str) -> Iterator[Text]:
    """Each block of comments on consecutive lines, joined to one text."""
    block: list[str] = []
    first = 0
    for line, text in enumerate([*source.splitlines(), ""], 1):
        match = COMMENT.search(text) if "#" in text else None
        if match:
            first = first if block else line
            block.append(match[1].strip())
        elif block:
            yield first, " ".join(block)
            block = []


def defined(node: ast.AST) -> Iterator[ast.AST]:
    """The node, and the classes and functions in it. Expressions are not looked at."""
    yield node
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            yield from defined(child)


def docstrings_and_names(tree: ast.Module, of_tests: bool) -> Iterator[tuple[Text, ast.stmt | None]]:
    """Docstrings with their statements; of tests their names, as sentences."""
    for node in defined(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield (node.body[0].lineno, docstring), node.body[0]
            if of_tests and isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = node.name.removeprefix("test_").replace("_", " ").capitalize()
                yield (node.lineno, name), None


def strings_and_names(tree: ast.Module, of_tests: bool) -> Iterator[Text]:
    """Docstrings; of tests their names; of other code the strings that contain a blank."""
    seen: set[int] = set()
    for text, statement in docstrings_and_names(tree, of_tests):
        yield text
        if statement is not None:
            seen.update(map(id, ast.iter_child_nodes(statement)))
    if of_tests:
        return
    for node in ast.walk(tree):
        said = node.value if isinstance(node, ast.Constant) and id(node) not in seen else None
        if isinstance(said, str) and " " in said:
            yield node.lineno, said


def paragraphs(document: str) -> Iterator[Text]:
    """The paragraphs of a Markdown document, without its blocks of code."""
    in_code, line = False, 1
    for paragraph in document.split("\n\n"):
        fences = paragraph.count("```")
        if not in_code and not fences:
            yield line, re.sub(r"`[^`]*`", "X", paragraph)
        in_code ^= fences % 2 == 1
        line += paragraph.count("\n") + 2


def texts(path: Path) -> Iterator[Text]:
    source = path.read_text()
    if path.suffix == ".md":
        yield from paragraphs(source)
        return
    yield from comments(source)
    yield from strings_and_names(ast.parse(source), path in SET_OF_TESTS)


def faults(path: Path) -> list[str]:
    """The places of a file that break the rule, as ``path:line: text``."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {' '.join(match.group().split())[:70]}"
        for line, text in texts(path)
        for pattern in (WORDS, OPENINGS)
        for match in pattern.finditer(text)
    ]


@pytest.mark.parametrize("paths", [CODE, TESTS, DOCUMENTS], ids=["code", "tests", "documents"])
def test_prose_is_plain(paths: list[Path]) -> None:
    assert [fault for path in paths for fault in faults(path)] == []


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("Who is late waits.", False),
        ("The call ends. Nobody waits for it.", False),
        ("What is a lease?", True),
        ("The lease is written anew.", False),
        ("The relay writes the lease again.", True),
    ],
)
def test_the_check_finds_what_breaks_the_rule(sentence: str, plain: bool) -> None:
    assert (not [match for pattern in (WORDS, OPENINGS) for match in pattern.finditer(sentence)]) == plain
