"""The floors of the package, the size of its files and functions, and the layout of the tests.

Read from the source, so nothing has to be run. See docs/architecture.md. A package imports packages of lower
floors and itself; flask, requests and gunicorn each have one package of their own.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from kit.needs import need

ROOT = Path(__file__).parent.parent
PACKAGE = "flask_gateway"

#: The packages, floor by floor. A package imports packages of lower floors, and no other.
BY_FLOOR = (
    ("model", "reactor"),
    ("config", "dialects", "pricing"),
    ("state", "telemetry", "streaming", "ledger"),
    ("guards", "realtime", "tracing", "cache", "plugin"),
    ("routing", "auth", "upstreams", "sidecar", "plugins", "jwt_auth"),
    ("app", "testing"),
    ("web", "cli", "server"),
    ("",),  # the factory, and the command line
)
#: The most lines of docs/architecture.md.
MAX_ARCHITECTURE = 120
FLOORS = {package: floor for floor, packages in enumerate(BY_FLOOR) for package in packages}

#: Libraries and the packages that may import them; the standard library may be imported everywhere.
OUTSIDE = {
    "flask": {"", "web", "cli"},
    "werkzeug": {"web", "cli"},
    "jinja2": {"web"},
    "gunicorn": {"server", "web"},
    "requests": {"upstreams"},
    "urllib3": {"upstreams"},
    "cachetools": {"state", "cache"},
    "lmdb": {"cache"},
    "redis": {"state"},
    "psycopg": {"ledger"},
    "sqlite3": {"auth", "ledger"},
    "prometheus_client": {"telemetry"},
    "brotli": {"web"},
    "backports": {"web"},
    "yaml": {"cli"},
    "opentelemetry": {"tracing"},
    "wsproto": {"realtime"},
    "jwt": {"jwt_auth"},
}


def modules() -> dict[str, Path]:
    found = {}
    # deploy/ holds files that come with the package, not modules.
    for path in sorted(set((ROOT / PACKAGE).rglob("*.py")) - set((ROOT / PACKAGE / "deploy").rglob("*.py"))):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def package(module: str) -> str:
    """The package of a module; empty for what stands at the root."""
    first = module.partition(".")[0]
    return "" if first in ("", "__main__") else first


@cache
def tree(module: str) -> ast.Module:
    """The parsed module. No test pays for it that is not about the code."""
    return ast.parse(MODULES[module].read_text())


@cache
def nodes(module: str) -> list[ast.AST]:
    """All nodes of a module, walked once for all tests."""
    return list(ast.walk(tree(module)))


@cache
def imports(module: str) -> set[str]:
    """Every import of a module, inside functions and for the type checker, too.

    Our own modules by their name within the package, others by their top name behind a ``!``.
    """
    is_package = MODULES[module].name == "__init__.py"
    found: set[str] = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found |= {f"!{alias.name.partition('.')[0]}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= _from(node, module, is_package)
    return found


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


def for_each_module(test: Callable[[str], None]) -> Callable[[], None]:
    """One test over all modules: a test for each would cost seconds to collect."""

    def run() -> None:
        for module in MODULES:
            test(module)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@for_each_module
def test_a_package_imports_lower_packages_only(module: str) -> None:
    here = package(module)
    for other in imports(module):
        there = package(other)
        # The root carries the version, and the factory, which `selftest` calls.
        if not other.startswith("!") and there not in (here, ""):
            assert FLOORS[there] < FLOORS[here], f"{module} imports {other}"


@for_each_module
def test_each_library_has_its_package(module: str) -> None:
    for name in {other[1:] for other in imports(module) if other.startswith("!")} & OUTSIDE.keys():
        assert package(module) in OUTSIDE[name], f"{module} imports {name}"


def test_no_cycles() -> None:
    graph = {
        module: {o for o in imports(module) if not o.startswith("!") and o not in (module, "")}
        for module in MODULES
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


def test_the_package_names_are_all_on_a_floor() -> None:
    assert {package(module) for module in MODULES} == FLOORS.keys()


def test_the_document_has_the_same_floors() -> None:
    document = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| (?:`(\w+)`|the root) \|", document, re.MULTILINE)
    assert {name: int(floor) for floor, name in rows} == FLOORS


def test_the_document_on_the_architecture_is_short() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text().splitlines()) <= MAX_ARCHITECTURE


def test_the_root_holds_the_factory_the_command_line_and_what_plugins_import() -> None:
    expected = {"__init__.py", "__main__.py", "plugin.py"}
    assert {path.name for path in (ROOT / PACKAGE).glob("*.py")} == expected


#: The most lines of a file (of tests, too), and of 95 % of all functions.
MAX_FILE, P95_FUNCTION = 400, 20


def functions() -> Iterator[ast.FunctionDef]:
    for module in MODULES:
        yield from (node for node in nodes(module) if isinstance(node, ast.FunctionDef))


def test_no_public_class_name_twice() -> None:
    classes = [node for module in MODULES for node in nodes(module) if isinstance(node, ast.ClassDef)]
    public = Counter(node.name for node in classes if not node.name.startswith("_"))
    assert [name for name, times in public.items() if times > 1] == []


@for_each_module
def test_a_file_is_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_FILE, MODULES[module]


def test_nearly_all_functions_are_short() -> None:
    lines = {node: (node.end_lineno or 0) - node.lineno + 1 for node in functions()}
    longest = sorted(lines, key=lines.__getitem__, reverse=True)
    too_long = {node.name: lines[node] for node in longest if lines[node] > P95_FUNCTION}
    assert len(too_long) <= len(lines) * 0.05, f"split some of {too_long}"


def is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        & {"Exception", "BaseException"}
    )


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether the handler only cleans up."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@for_each_module
def test_a_broad_except_raises_again_or_says_why_it_does_not(module: str) -> None:
    lines = MODULES[module].read_text().splitlines()
    for node in nodes(module):
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not raises_again(node):
            comment = lines[node.lineno - 1].partition("#")[2].replace("noqa: BLE001", "").strip(" #")
            assert comment, f"{MODULES[module]}:{node.lineno}: a comment on this line says why"


# ---------------------------------------------------------------- the layout of the tests

TESTS = ROOT / "tests"
TEST_FILES = sorted(TESTS.rglob("*.py"))

#: Folders of tests that mirror no package.
WITHOUT_PACKAGE = {"fuzz", "kit", "scenarios"}


#: The beginning of an import that may name a file of tests, in brackets or not.
MENTIONS = re.compile(r"^\s*(?:import|from)\s(?:[^\n(]*\([^)]*|[^\n]*)(?:\btest_|conftest)", re.MULTILINE)


def names_imported(path: Path) -> Iterator[str]:
    """The full names that a file of tests imports, with a dot for each level up. A file whose imports name no
    file of tests is not parsed."""
    source = path.read_text()
    if not MENTIONS.search(source) and not re.search(r"^\s*from\s+\.", source, re.MULTILINE):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_file_of_tests_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in TEST_FILES}
    long = {name: length for name, length in lengths.items() if length > MAX_FILE}
    assert not long, "split them by subject"


def test_each_folder_of_tests_mirrors_a_package() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TEST_FILES if path.name.startswith("test_")}
    mirrors = [folder for folder in folders if folder.parts and folder.parts[0] not in WITHOUT_PACKAGE]
    assert len(mirrors) > 10
    for folder in mirrors:
        assert (ROOT / PACKAGE / folder / "__init__.py").is_file(), f"tests/{folder} has no package"


#: Packages whose modules are the steps of one thing, and tested as that: whole documents in, whole documents
#: out. Their tests are in the folder that mirrors them, by subject.
TESTED_AS_ONE = {
    "cli/import_litellm": "whole configurations of LiteLLM become whole settings",
    "dialects/translations": "whole conversations of one API become those of another",
    "realtime": "whole sessions, frame by frame",
    "web/page": "whole pages, as an admin's browser asks for them",
}
_DECISIONS = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.Match, ast.BoolOp, ast.comprehension)


def decides(tree: ast.Module) -> bool:
    """Whether a module has a function with a decision or a loop. Others only declare or pass on."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return any(isinstance(node, _DECISIONS) for function in functions for node in ast.walk(function))


def own_tests(module: str) -> str:
    """The file of the tests of a module, below ``tests``, without its ending."""
    folder, _, name = module.replace(".", "/").rpartition("/")
    return f"{folder}/test_{name}"


def test_each_module_has_a_file_of_tests() -> None:
    missing = {}
    for module, path in MODULES.items():
        name = module.replace(".", "/")
        if path.name in ("__init__.py", "__main__.py") or not decides(tree(module)):
            continue
        tests = own_tests(module)
        if not (TESTS / f"{tests}.py").is_file() and not name.startswith(tuple(TESTED_AS_ONE)):
            missing[name] = f"tests/{tests}.py"
    assert missing == {}, "write these files of tests"


def test_packages_that_are_tested_as_one_have_tests() -> None:
    for folder in TESTED_AS_ONE:
        assert list((TESTS / folder).rglob("test_*.py")), folder


def test_tests_share_code_in_the_kit_alone() -> None:
    tests = {path.stem for path in TEST_FILES if path.name.startswith("test_")} | {"conftest"}
    for path in TEST_FILES:
        for name in names_imported(path):
            parts = name.split(".")
            shared = parts[0] and (parts[0] == PACKAGE or not tests & set(parts))
            assert shared, f"{path.relative_to(ROOT)} imports {name}: move that to tests/kit"


def test_git_tracks_no_symbolic_link() -> None:
    need("git")
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
