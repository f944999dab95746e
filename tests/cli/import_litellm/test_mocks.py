"""Tests that imported gateways answer, with mocks in place of every base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flask_gateway import create_app
from flask_gateway.config.load import load
from flask_gateway.config.secrets import digest
from flask_gateway.pricing.table import shipped
from flask_gateway.state.memory import MemoryStore

KEY = "key-of-an-imported-gateway"
CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.yaml"))


def variables(table: Any) -> dict[str, str]:
    """A value for every variable that a settings file names."""
    found: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= variables(value)
        elif name == "url_env":
            found[value] = "http://127.0.0.1:9"
        elif name == "state_env":
            found[value] = "redis://127.0.0.1:9/0"
        elif name.endswith("_env"):
            found[value] = f"a-key-in-{value}"
    return found


#: Configurations without a model that the gateway can ask.
NOTHING = frozenset({"21", "23"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_model_answers(path: Path, import_config: Callable[..., Any]) -> None:
    found = import_config(path.stem)
    if path.stem[:2] in NOTHING:
        assert found.settings == {}
        return
    settings = load(
        {
            **variables(found.settings),
            "GATEWAY_CONFIG": str(found.folder / "gateway.toml"),
            "GATEWAY_API_KEYS": KEY,
            "GATEWAY_STATE": "memory://",
        }
    )
    assert [key.digest for key in settings.keys] == [digest(KEY)]
    mocks = [
        msgspec.structs.replace(one, url=f"mock://{one.name}", prices=shipped().provider_of(one.url))
        for one in settings.upstreams
    ]
    client = create_app(
        msgspec.structs.replace(settings, upstreams=tuple(mocks)), MemoryStore()
    ).test_client()
    names = [name for model in settings.models for name in (model.name, *model.aliases)]
    assert names or settings.default_upstream
    for name in names:
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        answer = client.post("/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200, (name, answer.text)
        assert answer.headers["x-litellm-model-group"] == name
