"""Builds the package. Its modules are installed without docstrings: those are a sixth of the wheel."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

#: The modules with docstrings: what somebody who writes an extension imports.
DOCUMENTED = ("flask_gateway.app.extensions", "flask_gateway.model")


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


class BuildModules(build_py):
    def build_module(self, module: str, module_file: str, package: str) -> Any:
        built, copied = super().build_module(module, module_file, package)
        if not f"{package}.{module}".startswith(DOCUMENTED):
            path = Path(built)
            path.write_text(without_docstrings(path.read_text("utf-8")), "utf-8")
        return built, copied


setup(cmdclass={"build_py": BuildModules})
