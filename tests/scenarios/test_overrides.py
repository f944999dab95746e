"""Tests what the settings add to calls on a running gateway: body fields, aliases, a URL from a variable, and
the headers of LiteLLM."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from kit.gateways import StartGateway
from kit.servers import Gateway, Upstream
from kit.wire import open_stream

pytestmark = pytest.mark.live

KEY, NARROW = "key-overrides", "key-of-one-model"
AS_NARROW = {"authorization": f"Bearer {NARROW}"}


@pytest.fixture(scope="module")
def overriding(
    start_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    file = tmp_path_factory.mktemp("overrides") / "gateway.toml"
    file.write_text(
        f"""
rate_limit_per_minute = 0
circuit_breaker_max_failures = 1000
compat = ["litellm"]
[keys.all]
sha256 = "{sha256(KEY.encode()).hexdigest()}"
[keys.narrow]
sha256 = "{sha256(NARROW.encode()).hexdigest()}"
models = ["thin*"]
rate_limit_per_minute = 900
[upstreams.first]
url_env = "OVERRIDES_URL"
url_path = "/openai/v1"
[upstreams.second]
url_env = "OVERRIDES_URL"
[models.thinker]
upstream = "second"
model = "served"
aliases = ["old-name"]
[models.thinker.set]
reasoning_effort = "high"
nested = {{ deep = [1, 2.5, true], text = "ü" }}
[models.thinker.default]
temperature = 0.25
max_tokens = 64
[models.chain]
tiers = [
  [{{ upstream = "first", model = "status,code=503", set = {{ place = "first" }} }}],
  [{{ upstream = "second", model = "served", set = {{ place = "second" }}, default = {{ top_p = 0.5 }} }}],
]
set = {{ place = "model", common = 1 }}
[models.plain]
upstream = "second"
model = "served"
"""
    )
    return start_gateway(KEY, GATEWAY_CONFIG=str(file), OVERRIDES_URL=scripted.url, GATEWAY_WORKERS="1")


def sent(upstream: Upstream) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(upstream.last()["body"])
    return body


def test_fields_of_the_settings_reach_the_upstream(overriding: Gateway, upstream: Upstream) -> None:
    assert overriding.chat("thinker", reasoning_effort="low", nested=None).status == 200
    body = sent(upstream)
    assert body["reasoning_effort"] == "high"
    assert body["nested"] == {"deep": [1, 2.5, True], "text": "ü"}
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.25, 64, "served")


def test_a_default_gives_way_to_the_caller(overriding: Gateway, upstream: Upstream) -> None:
    overriding.chat("thinker", temperature=1, max_completion_tokens=5)
    body = sent(upstream)
    assert (body["temperature"], body["max_completion_tokens"]) == (1, 5)
    assert "max_tokens" not in body


def test_a_stream_has_them_too(overriding: Gateway, upstream: Upstream) -> None:
    with open_stream(overriding.port, KEY, "old-name") as opened:
        assert opened.status == 200
        assert opened.data()[-1] == "[DONE]"
        assert opened.headers["x-litellm-model-group"] == "old-name"
    assert (sent(upstream)["reasoning_effort"], sent(upstream)["stream"]) == ("high", True)


def test_each_candidate_has_its_own_fields(overriding: Gateway, upstream: Upstream) -> None:
    answer = overriding.chat("chain")
    requests = upstream.requests()
    first, *_, last = (json.loads(request["body"]) for request in requests)
    assert (first["place"], last["place"]) == ("first", "second")
    assert (first["common"], last["common"]) == (1, 1)
    assert "top_p" not in first
    assert last["top_p"] == 0.5
    assert requests[0]["path"] == "/openai/v1/chat/completions"
    assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
    assert answer.headers["x-litellm-model-id"] == "second"


def test_a_model_without_them_sends_what_the_caller_sent(overriding: Gateway, upstream: Upstream) -> None:
    overriding.chat("plain", reasoning_effort="low")
    assert sent(upstream)["reasoning_effort"] == "low"
    assert "temperature" not in sent(upstream)


def test_an_alias_is_a_name_of_its_model(overriding: Gateway, upstream: Upstream) -> None:
    assert overriding.chat("old-name").status == 200
    assert sent(upstream)["model"] == "served"
    listed = {model["id"] for model in overriding.ask("GET", "/v1/models").json["data"]}
    assert {"thinker", "old-name"} <= listed
    assert overriding.chat("old-name", headers=AS_NARROW).status == 200
    assert overriding.chat("plain", headers=AS_NARROW).status == 403


def test_litellms_headers_and_fields(overriding: Gateway, upstream: Upstream) -> None:
    answer = overriding.chat("plain", metadata={"a": 1}, cache={"no-cache": True})
    assert answer.headers["x-litellm-call-id"] == answer.headers["x-request-id"]
    assert float(answer.headers["x-litellm-response-duration-ms"]) >= 0
    assert not {"metadata", "cache"} & sent(upstream).keys()
    refused = overriding.chat("thinker-none-such", headers=AS_NARROW)
    assert refused.headers["x-litellm-call-id"] == refused.headers["x-request-id"]
    assert overriding.chat("thinker", headers=AS_NARROW).headers["x-litellm-key-rpm-limit"] == "900"


def test_paths_without_a_version(overriding: Gateway) -> None:
    assert overriding.ask("GET", "/models").status == 200
    assert overriding.ask("POST", "/chat/completions", {"model": "plain", "messages": []}).status == 400
