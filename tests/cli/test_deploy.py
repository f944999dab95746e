"""Tests the files that deploy prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway import __version__
from flask_gateway.cli.command import OK
from flask_gateway.cli.deploy import GROUPS, SHIPPED, text
from flask_gateway.cli.main import main

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


# ---------------------------------------------------------------- deploy, completion, version


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_is_printed_as_it_is(name: str, capsys: Capture) -> None:
    assert main(["deploy", "print", name], {}) == OK
    printed = capsys.readouterr().out
    assert printed == (ROOT / "flask_gateway" / "deploy" / SHIPPED[name].path).read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_each_file_with_its_place(name: str, capsys: Capture) -> None:
    assert main(["deploy", "print", name], {}) == OK
    printed = capsys.readouterr().out
    for one in GROUPS[name]:
        assert SHIPPED[one].place in printed
        assert text(one) in printed


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("compose", "compose.yaml"),
        ("docker-settings", "docker/gateway.toml"),
        ("docker-prometheus", "docker/prometheus.yml"),
    ],
)
def test_a_file_for_containers_is_that_of_the_checkout(name: str, path: str) -> None:
    assert text(name) == (ROOT / path).read_text(), f"cp {path} flask_gateway/deploy/{SHIPPED[name].path}"


def test_the_dockerfile_of_the_package_installs_this_version_and_ends_as_that_of_the_checkout() -> None:
    """It installs the wheel, where the checkout's builds it. The image is the same."""
    build, begin, image = text("dockerfile").partition("\nFROM python:3.13-slim\n")
    assert (ROOT / "Dockerfile").read_text().endswith(begin + image)
    assert f'"flask-llm-gateway[redis]=={__version__}"' in build
    assert "COPY Dockerfile *.whl /wheels/" in build  # of no wheel, the Dockerfile is copied
