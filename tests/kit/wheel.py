"""Builds a wheel of the checkout, and installs it into an environment of its own. Needs no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from kit.servers import ROOT

#: The files that a wheel is built from.
SOURCES = ("pyproject.toml", "setup.py", "README.md", "flask_gateway")


def build(folder: Path) -> Path:
    """The path of a new wheel."""
    tree, dist = folder / "tree", folder / "dist"
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    _pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(dist), str(tree))
    (wheel,) = dist.iterdir()
    return wheel


def changed(wheel: Path, folder: Path, version: str) -> Path:
    """A copy of the wheel whose code says that it has another version."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename == "flask_gateway/__init__.py":
                content = re.sub(rb'__version__ = ".*"', f'__version__ = "{version}"'.encode(), content)
            new.writestr(item, content)
    return copy


class Environment:
    """A virtual environment. The packages that the gateway needs are those of this Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        (site,) = folder.glob("lib/python3*/site-packages")
        (site / "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    def install(self, wheel: Path) -> None:
        """Install the wheel, in the place of an older one."""
        options = ["--no-deps", "--no-index", "--force-reinstall", "--no-compile"]
        _pip("--python", self.program("python"), "install", *options, str(wheel))

    def program(self, name: str) -> str:
        """The path of a program of the environment."""
        return str(self.folder / "bin" / name)


def _pip(*arguments: str) -> None:
    """Run pip. It sees no other settings than these."""
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(command, env=clean, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
