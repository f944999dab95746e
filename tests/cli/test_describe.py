"""Tests ``describe``, and that ``docs/dialects.md`` has what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_gateway.cli.command import OK
from flask_gateway.cli.main import main
from flask_gateway.config.kinds import KINDS
from flask_gateway.config.upstream_url import base_url
from flask_gateway.model.call import Operation

DOCUMENT = (Path(__file__).parents[2] / "docs/dialects.md").read_text()


def test_the_document_has_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "dialects"], {}) == OK
    for table in capsys.readouterr().out.split("\n\n"):
        assert table.strip() in DOCUMENT, "flask-gateway describe dialects"


def test_it_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "dialects", "--json"], {}) == OK
    kinds = json.loads(capsys.readouterr().out)["kinds"]
    assert list(kinds) == list(KINDS)
    assert kinds["anthropic"]["operations"] == ["messages", "messages/count_tokens"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_can_be_called(name: str) -> None:
    kind = KINDS[name]
    assert kind.speaks
    assert not kind.url or base_url(kind.url) == kind.url
    assert kind.headers_of(None) == {}
    for operation in kind.speaks:
        url = kind.url_of("https://host.example/a/v1", operation)
        assert url.startswith("https://host.example/")
        assert url.endswith(f"/{operation}")


def test_anthropics_operations_may_be_elsewhere() -> None:
    deepseek = KINDS["deepseek"]
    assert deepseek.url_of(deepseek.url, Operation.CHAT) == "https://api.deepseek.com/v1/chat/completions"
    assert (
        deepseek.url_of(deepseek.url, Operation.MESSAGE) == "https://api.deepseek.com/anthropic/v1/messages"
    )
