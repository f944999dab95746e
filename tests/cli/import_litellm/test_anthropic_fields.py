"""Tests what the parameters of a deployment become where Anthropic's own API is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.cli.import_litellm.anthropic_fields import message_field
from flask_gateway.config.load import load

Import = Callable[..., Any]
CLAUDE = """
model_list:
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-6
      api_key: os.environ/ANTHROPIC_API_KEY
      stop: END
      max_completion_tokens: 900
      reasoning_effort: minimal
      logit_bias: {"1": 2}
  - model_name: own
    litellm_params: {model: anthropic/claude-x, api_base: "http://127.0.0.1:9/claude", api_key: EMPTY}
  - model_name: fast
    litellm_params: {model: groq/llama, api_base: "http://127.0.0.1:9/v1", api_key: EMPTY}
litellm_settings: {drop_params: true}
"""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 0.2, ("temperature", 0.2)),
        ("max_completion_tokens", 9, ("max_tokens", 9)),
        ("stop", "END", ("stop_sequences", ["END"])),
        ("stop", ["A", "B"], ("stop_sequences", ["A", "B"])),
        ("stop", 7, None),
        ("user", "u1", ("metadata", {"user_id": "u1"})),
        ("reasoning_effort", "none", ("thinking", {"type": "disabled"})),
        ("reasoning_effort", "high", ("output_config", {"effort": "high"})),
        ("seed", 1, None),
        ("response_format", {"type": "json_object"}, None),
    ],
)
def test_fields_by_their_names_in_the_messages_api(name: str, value: Any, expected: Any) -> None:
    assert message_field(name, value) == expected


def test_a_model_of_anthropic_is_asked_by_anthropics_api(import_text: Import) -> None:
    found = import_text(CLAUDE)
    upstreams, model = found.settings["upstreams"], found.settings["models"]["claude"]
    assert upstreams["anthropic"]["kind"] == upstreams["anthropic-9"]["kind"] == "anthropic"
    assert upstreams["anthropic-9"]["url"] == "http://127.0.0.1:9/claude/v1"  # where LiteLLM adds /v1, too
    assert upstreams["anthropic"]["unsupported"] == "drop"
    assert "kind" not in upstreams["groq"]  # another server may be there
    assert model["default"] == {
        "stop_sequences": ["END"],
        "max_tokens": 900,
        "output_config": {"effort": "low"},
    }
    assert found.says("left_out", 10, "Anthropic's API has no such field")
    # LiteLLM waits for as long as its timeout says: no timeout of the kind is shorter than that.
    settings = load({"GATEWAY_CONFIG": str(Path(found.folder) / "gateway.toml"), "ANTHROPIC_API_KEY": "a"})
    (claude,) = [one for one in settings.upstreams if one.name == "anthropic"]
    assert claude.clocks is not None
    assert (claude.clocks.answer, claude.clocks.first_byte, claude.clocks.idle) == (600, 120, 120)
