"""Runs the import of a configuration in the test's own process."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flask_gateway.cli.main import main

CONFIGS = Path(__file__).parent / "configs"


class Imported(NamedTuple):
    """The result of an import.

    :param said: all lines of the report, each as ``LINE setting: text``, by list.
    """

    status: int
    settings: dict[str, Any]
    said: dict[str, list[str]]
    folder: Path
    text: str

    def tiers(self, model: str) -> list[list[str]]:
        """The candidates of a model as ``upstream/model*weight``, tier by tier."""
        table = self.settings["models"][model]
        if "upstream" in table:
            return [[f"{table['upstream']}/{table.get('model', model)}"]]
        return [[_candidate(one) for one in tier] for tier in table["tiers"]]

    def says(self, verdict: str, line: int, part: str) -> bool:
        return any(said.startswith(f"{line} ") and part in said for said in self.said[verdict])


def _candidate(one: dict[str, Any]) -> str:
    weight = f"*{one['weight']}" if "weight" in one else ""
    return f"{one['upstream']}/{one['model']}{weight}"


@pytest.fixture
def import_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Imported]:
    def run(text: str, *more: str) -> Imported:
        source, target = tmp_path / "config.yaml", tmp_path / "gateway.toml"
        source.write_text(text)
        target.unlink(missing_ok=True)
        status = main(["import", "litellm", str(source), "-o", str(target), "--json", *more], {})
        printed = capsys.readouterr()
        document = json.loads(printed.out) if printed.out else {}
        said = {
            verdict: [f"{one['line']} {one['setting']}: {one['text']}" for one in document.get(verdict, [])]
            for verdict in ("mapped", "changed", "left_out")
        }
        said["error"] = printed.err.splitlines()
        said["notes"] = document.get("notes", [])
        written = target.read_text() if target.exists() else ""
        return Imported(status, tomllib.loads(written), said, tmp_path, written)

    return run


@pytest.fixture
def import_config(import_text: Callable[..., Imported]) -> Callable[..., Imported]:
    """Import one of the configurations in ``configs``."""

    def run(name: str, *more: str) -> Imported:
        (path,) = CONFIGS.glob(f"{name}*.yaml")
        return import_text(path.read_text(), *more)

    return run
