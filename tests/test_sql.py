"""Checks that every SQL statement is constant text, so that nothing that somebody sends becomes SQL."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TypeGuard

import pytest

PACKAGE = Path(__file__).parent.parent / "flask_gateway"
#: The functions whose first argument is SQL.
_RUNS = {"execute", "executemany"}
_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|PRAGMA|CREATE|ALTER|WHERE|VALUES|ORDER BY)\b")
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "sqlite3" in path.read_text()]


def is_worked_out(node: ast.AST) -> bool:
    """Whether an expression makes a text of parts: an f-string, ``+``, ``%``, ``format``, ``join``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join", "replace")
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod)
    )


def texts(node: ast.AST) -> list[str]:
    return [
        one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def runs(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether this runs a statement."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _RUNS


def faults(tree: ast.Module) -> list[int]:
    """The lines with SQL that is worked out, or that runs anything but a text or a name."""
    found = []
    for node in ast.walk(tree):
        if is_worked_out(node) and any(_SQL.search(text) for text in texts(node)):
            found.append(node.lineno)
        if runs(node) and not isinstance(node.args[0], ast.Constant | ast.Name):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_statement_is_constant_text(path: Path) -> None:
    assert faults(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        'db.execute(f"SELECT {x}")',
        's = "SELECT * FROM key WHERE id = " + x',
        's = "DELETE FROM {}".format(x)',
        'db.execute("PRAGMA " + x)',
        "db.execute(make(x))",
    ],
)
def test_the_check_finds_statements_that_are_worked_out(code: str) -> None:
    assert faults(ast.parse(code))


def test_the_check_sees_the_databases() -> None:
    assert {"key_store.py", "key_tables.py", "database.py"} <= {path.name for path in FILES}
