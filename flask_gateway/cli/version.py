"""``version``: prints the versions of the gateway, of Python and of the packages that it runs on."""

from __future__ import annotations

import platform
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from .. import __version__
from .command import OK, Command, add_json, print_json

#: The name of the distribution. `flask-gateway` is another project on PyPI.
DISTRIBUTION = "flask-llm-gateway"
#: The direct dependencies, for a checkout that is not installed. A test compares them with pyproject.toml.
DEPENDENCIES = (
    "backports.zstd",
    "cachetools",
    "flask",
    "gunicorn",
    "msgspec",
    "prometheus-client",
    "requests",
    "urllib3",
)
#: The packages of the extras.
EXTRAS = ("brotli", "redis")


def _arguments(parser: ArgumentParser) -> None:
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    packages = dict(_packages())
    if arguments.json:
        print_json({"flask-gateway": __version__, "python": platform.python_version(), "packages": packages})
        return OK
    print(f"flask-gateway {__version__}")
    print(f"python {platform.python_version()}")
    for name, number in packages.items():
        print(f"{name} {number}")
    return OK


def _packages() -> Iterator[tuple[str, str]]:
    """The installed ones among the dependencies, with their versions."""
    for name in sorted({*_required(), *EXTRAS}):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _required() -> set[str]:
    """The names of the dependencies in the metadata of the distribution."""
    try:
        lines = [line for line in requires(DISTRIBUTION) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return set(DEPENDENCIES)
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines}


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway version", "one line for each part"),
        ("flask-gateway version --json", "the same for programs"),
    ),
    {OK: "always"},
)
