"""Tests the names of attributes: all that the gateway uses, and which provider a host belongs to."""

from __future__ import annotations

import pytest

from flask_gateway.model.call import Operation
from flask_gateway.tracing import genai

#: As the convention has them at ``genai.COMMIT``. A renamed one is changed here and in that module alone.
NAMES = {
    *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.stream"),
    *("gen_ai.response.model", "gen_ai.response.id", "gen_ai.response.finish_reasons"),
    *("gen_ai.response.time_to_first_chunk", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
    *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    *("gen_ai.usage.reasoning.output_tokens", "gen_ai.input.messages", "gen_ai.output.messages"),
    *("gen_ai.system_instructions", "error.type", "server.address", "server.port", "user.id"),
    *("http.request.method", "http.route", "http.response.status_code"),
}


def test_the_names_are_those_of_the_convention() -> None:
    values = {value for name, value in vars(genai).items() if name.isupper() and isinstance(value, str)}
    assert values - {genai.COMMIT} == NAMES


def test_each_operation_has_a_name() -> None:
    assert set(genai.OPERATIONS) == set(Operation)
    assert genai.operation_of("/v1/responses") == genai.operation_of("/v1/messages") == "chat"
    assert genai.operation_of("/v1/other") == "other"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1", "aws.bedrock"),
        ("https://europe-west1-aiplatform.googleapis.com/v1", "gcp.vertex_ai"),
        ("http://127.0.0.1:8001/v1", "mine"),
        ("mock://local", "mine"),
    ],
)
def test_the_host_says_the_provider(url: str, provider: str) -> None:
    assert genai.provider_of(url, "mine") == provider
