"""Included files: read as LiteLLM reads them, with findings that name the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.cli.command import LOOK, OK
from flask_gateway.cli.main import main

Import = Callable[..., Any]


def model(name: str, *params: str) -> str:
    inner = ", ".join((f"model: openai/{name}", *params))
    return f"model_list:\n- model_name: {name}\n  litellm_params: {{{inner}}}\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.yaml", None, "it cannot be read: No such file"),
        ("folder", "", "it cannot be read: Is a directory"),
        ("broken.yaml", "a: [", "it is not valid YAML"),
        ("list.yaml", "- a", "it is not a mapping"),
        ("empty.yaml", "", "it is empty"),
        ("latin.yaml", "é: 1", "it is not text in UTF-8"),
        ("config.yaml", None, "refused: this file is read already"),
    ],
)
def test_a_file_that_cannot_be_included(
    name: str, content: str | None, reason: str, import_text: Import, tmp_path: Path
) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    found = import_text(model("a") + f"include:\n- {name}\n")
    assert found.settings["models"].keys() == {"a"}
    assert found.says("left_out", 5, reason), found.said


def test_included_files_include_others_and_a_cycle_ends(import_text: Import, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.yaml").write_text(model("b") + "include: [more/two.yaml, more/one.yaml]\n")
    (tmp_path / "more" / "two.yaml").write_text(model("c") + "include: more/one.yaml\n")
    found = import_text("include: [more/one.yaml]\n" + model("a"))
    assert found.settings["models"].keys() == {"a", "b", "c"}
    assert len([one for one in found.said["left_out"] if "this file is read already" in one]) == 2


def test_findings_name_the_included_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "config.yaml", tmp_path / "gateway.toml"
    source.write_text("general_settings: {master_key: os.environ/MASTER}\ninclude: [models.yaml]\n")
    (tmp_path / "models.yaml").write_text(model("b", "api_key: os.environ/K", "organization: o"))
    assert main(["import", "litellm", str(source), "-o", str(target)], {}) == LOOK
    printed = capsys.readouterr().out
    assert "  models.yaml:3: model_list[1] b.litellm_params.organization: " in printed
    assert "  config.yaml:2: include models.yaml: read" in printed
    assert "# models.yaml:3: model_list[1] b.litellm_params.organization: " in target.read_text()
    target.unlink()
    main(["import", "litellm", str(source), "-o", str(target), "--json"], {})
    (left,) = json.loads(capsys.readouterr().out)["left_out"]
    assert (left["line"], left["file"]) == (3, "models.yaml")


def test_sections_of_both_files_count_and_the_later_wins(import_text: Import, tmp_path: Path) -> None:
    settings = "litellm_settings:\n  request_timeout: {}\n"
    (tmp_path / "settings.yaml").write_text(settings.format(50) + model("b"))
    master = "general_settings: {master_key: os.environ/MASTER}\n"
    found = import_text(master + "include: [settings.yaml]\n" + settings.format(40) + model("a"))
    assert found.settings["answer_timeout_seconds"] == 50
    assert list(found.settings["models"]) == ["a", "b"]
    assert found.status == LOOK


def test_an_import_with_included_files_may_be_complete(import_text: Import, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(model("b", "api_key: os.environ/K"))
    found = import_text(
        "general_settings: {master_key: os.environ/MASTER}\n"
        "litellm_settings: {timeout: 60}\n"
        "include: [b.yaml]\n"
    )
    assert (found.status, found.said["changed"], found.said["left_out"]) == (OK, [], [])
