"""Checks that every SQL statement is constant text, so that nothing that somebody sends becomes SQL."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flask_gateway"
#: The functions whose first argument is SQL.
_RUNS = {"execute", "executemany"}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "sqlite3" in path.read_text()]


def constants(tree: ast.Module) -> set[str]:
    """The names at the top of a module that are texts without any part that is worked out."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def is_constant(sql: ast.expr, names: set[str]) -> bool:
    return isinstance(sql, ast.Constant) or (isinstance(sql, ast.Name) and sql.id in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_statement_is_constant_text(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _RUNS:
            assert is_constant(node.args[0], names), f"{path}:{node.lineno}"


def test_the_check_sees_the_databases() -> None:
    assert {"key_store.py", "key_tables.py", "database.py"} <= {path.name for path in FILES}
