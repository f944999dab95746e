"""The floors of the house: who may import whom. Read from the source, so nothing has to be run.

See docs/architecture.md. A floor imports lower floors and its own; flask, requests and gunicorn each
have one floor of their own.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "flask_gateway"

#: The longest prefix that fits decides.
FLOORS = {
    "": 6,  # the package itself: the factory
    "__main__": 6,
    "web": 6,
    "worker": 6,
    "heartbeat": 6,
    "master": 6,
    "quiet": 6,
    "connection": 6,
    "threads": 6,
    "doorstep": 6,
    "selftest": 6,
    "doctor": 6,
    "explain": 6,
    "to_serve": 6,
    "reload": 6,
    "wiring": 5,
    "candidates": 5,
    "affinity": 4,
    "catalog": 4,
    "dispatch": 4,
    "attempts": 4,
    "whole": 4,
    "continuation": 4,
    "seam": 4,
    "record": 4,
    "observers": 4,
    "upstreams": 3,
    "watcher": 3,
    "relay": 3,
    "guards": 2,
    "callers": 2,
    "routing": 2,
    "references": 2,
    "balance": 2,
    "stores": 1,
    "core": 0,
    "errors": 0,
    "cancellation": 0,
    "gate": 0,
    "turns": 0,
    "config": 0,
    "settings": 0,
    "reply": 0,
    "sockets": 0,
    "log_output": 0,
    "large": 0,
    "malloc": 0,
}

#: Who outside may be imported where; the standard library may be everywhere.
OUTSIDE = {
    "flask": {6},
    "werkzeug": {6},
    "gunicorn": {6},
    "requests": {3},
    "urllib3": {3},
    "cachetools": {1},
    "redis": {1},
    "prometheus_client": {4},
    "msgspec": {0, 1, 2, 3, 4, 5, 6},
}

#: Rooms that are one story told in two, so that each fits on a screen or two.
NEIGHBOURS = {
    ("observers", "record"),
    ("balance", "routing"),
    ("affinity", "references"),
    ("dispatch", "attempts"),
    ("dispatch", "continuation"),
    ("continuation", "seam"),
}

STDLIB_ONLY = {
    "settings": {"msgspec"},
    "core": {"msgspec"},
    "errors": set(),
    "cancellation": set(),
    "reply": set(),
    "config": {"msgspec"},
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def floor(module: str) -> int:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:length])) in FLOORS:
            return FLOORS[prefix]
    pytest.fail(
        f"{PACKAGE}/{module.replace('.', '/')}.py stands on no floor: add it to FLOORS and to the docs"
    )


def imports(module: str, *, at_start: bool = False) -> set[str]:
    """What a module imports: our own by their name within the package, others by their top name.

    :param at_start: leave out what is imported inside functions, or for the type checker only.
    """
    tree = ast.parse(MODULES[module].read_text())
    is_package = MODULES[module].name == "__init__.py"
    nodes = _at_start(tree) if at_start else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {f"!{alias.name.partition('.')[0]}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= _from(node, module, is_package)
    return found


def _at_start(tree: ast.Module) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        nodes.append(node)
        waiting += ast.iter_child_nodes(node)
    return nodes


def _from(node: ast.ImportFrom, module: str, is_package: bool) -> set[str]:
    if node.level == 0:
        top = (node.module or "").partition(".")[0]
        assert top != PACKAGE, f"{module} imports its own package by its full name"
        return {f"!{top}"}
    base = module.split(".") if module else []
    base = base[: len(base) - node.level + is_package]
    base += (node.module or "").split(".") if node.module else []
    found = set()
    for alias in node.names:
        name = ".".join([*base, alias.name])
        found.add(name if name in MODULES else ".".join(base))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_import_goes_up(module: str) -> None:
    for other in imports(module):
        # The package's own name carries the version, and nothing else at start.
        if not other.startswith("!") and other != "":
            assert floor(other) <= floor(module), (
                f"{module} (floor {floor(module)}) imports {other} ({floor(other)})"
            )


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_its_floor(module: str) -> None:
    for name in {other[1:] for other in imports(module) if other.startswith("!")} & OUTSIDE.keys():
        assert floor(module) in OUTSIDE[name], f"{module} (floor {floor(module)}) imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.partition(".")[0] in STDLIB_ONLY])
def test_the_ground_floor_stands_on_little(module: str) -> None:
    import sys

    others = {other[1:] for other in imports(module) if other.startswith("!")}
    assert others - set(sys.stdlib_module_names) <= STDLIB_ONLY[module.partition(".")[0]]


def test_no_cycles() -> None:
    """Two modules that import each other at start are one module in two files."""
    graph = {
        module: {
            o for o in imports(module, at_start=True) if not o.startswith("!") and o != module and o != ""
        }
        for module in MODULES
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


def test_neighbours_on_the_middle_floors_meet_through_the_ground_floor() -> None:
    """Stores, guards, upstreams and the dispatch do not know each other."""
    for module in MODULES:
        room = module.partition(".")[0]
        for other in imports(module):
            there = other.partition(".")[0]
            if other.startswith("!") or there in ("", room) or not 1 <= floor(module) <= 4:
                continue
            assert floor(other) == 0 or (room, there) in NEIGHBOURS, f"{module} imports {other}"


def test_the_package_itself_is_light() -> None:
    """Importing a part of the package must not bring all of it."""
    assert {other for other in imports("", at_start=True) if other != "!__future__"} <= {"!typing"}
