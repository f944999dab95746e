"""Builds the package. Its modules are installed without docstrings and comments: a quarter of the wheel."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

#: The modules that keep both: those that an extension or a plugin imports.
DOCUMENTED = (
    "flask_gateway.app.extensions",
    "flask_gateway.model.",
    "flask_gateway.plugin.",
    "flask_gateway.testing.",
)


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def without_docstrings(source: str) -> str:
    """Return the source of a module with empty docstrings. Every other line keeps its number."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False):
            _empty(lines, node.body[0])
    return "".join(lines)


def _empty(lines: list[str], docstring: ast.stmt) -> None:
    """Put an empty string in the place of a docstring, and empty lines in the place of its further lines."""
    first, last = docstring.lineno - 1, (docstring.end_lineno or docstring.lineno) - 1
    indent = lines[first][: docstring.col_offset]
    lines[first : last + 1] = [f'{indent}""\n', *["\n"] * (last - first)]


def without_comments(source: str) -> str:
    """Return the source of a module without comments. Every line keeps its number."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column].rstrip() + "\n"
    return "".join(lines)


class BuildModules(build_py):
    def build_module(self, module: str, module_file: str, package: str) -> Any:
        built, copied = super().build_module(module, module_file, package)
        if not f"{package}.{module}.".startswith(DOCUMENTED):
            path = Path(built)
            path.write_text(without_comments(without_docstrings(path.read_text("utf-8"))), "utf-8")
        return built, copied


setup(cmdclass={"build_py": BuildModules})
