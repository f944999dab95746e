"""The mode of a model: reported where no upstream of its kind takes the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_gateway.cli.import_litellm.modes import lacking


@pytest.mark.parametrize(
    ("mode", "kind", "part"),
    [
        ("chat", "anthropic", None),
        ("responses", "groq", None),
        ("audio_transcription", "", None),
        ("audio_transcription", "groq", None),
        ("image_generation", "azure", None),
        ("image_generation", "anthropic", "of kind anthropic takes images/generations only if speaks"),
        ("rerank", "cohere", "of kind cohere takes rerank only if speaks"),
        ("realtime", "", "realtime: an upstream takes realtime only if speaks"),
        ("batch", "azure", "batch: this operation is not offered"),
        ("sk-planted-secret", "", "an unknown operation"),
    ],
)
def test_modes(mode: str, kind: str, part: str | None) -> None:
    found = lacking(mode, kind)
    assert found is None if part is None else part in str(found)
    assert "planted" not in str(found)


def test_a_model_without_an_upstream_for_its_mode_is_reported(import_text: Callable[..., Any]) -> None:
    found = import_text(
        "model_list:\n"
        "- {model_name: r, litellm_params: {model: cohere/rerank-v3.5}, model_info: {mode: rerank}}\n"
        "- {model_name: w, litellm_params: {model: openai/tts-1}, model_info: {mode: audio_speech}}\n"
    )
    assert found.says("left_out", 2, "of kind cohere takes rerank only if speaks")
    assert found.says("mapped", 3, "the caller's path chooses the operation")
