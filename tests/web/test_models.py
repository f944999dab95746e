"""Tests the list of models, and which upstream a model reaches."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.planted import UPSTREAM_KEY
from kit.web_calls import assert_refused, post

from flask_gateway.config.schema import (
    CandidateSettings,
    ModelSettings,
    Secret,
    UpstreamSettings,
)


def test_an_unlisted_model_is_shown_if_a_call_would_reach_it(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(default_upstream="bare")
    model = client.get("/v1/models/gpt-4o", headers=AUTH).json
    assert model == {"id": "gpt-4o", "object": "model", "created": 1767225600, "owned_by": "bare"}
    narrow = {"Authorization": "Bearer other-key"}
    assert_refused(client.get("/v1/models/gpt-4o", headers=narrow), 404, "model_not_found")


def test_a_providers_name_is_listed_as_a_model_only_if_it_is_one(
    make_client: Callable[..., FlaskClient],
) -> None:
    def listed(**own: ModelSettings) -> list[str]:
        provider = UpstreamSettings(name="openai", url="https://api.test/v1", api_key=Secret(UPSTREAM_KEY))
        mock = UpstreamSettings(name="mock", url="mock://local")
        client = make_client(
            upstreams=(provider, mock), models=tuple(own.values()), default_upstream="openai"
        )
        return [one["id"] for one in client.get("/v1/models", headers=AUTH).json["data"]]  # type: ignore[index]

    assert listed() == ["mock"]
    tiers = ((CandidateSettings(upstream="openai", model="gpt-4o"),),)
    assert listed(a=ModelSettings(name="gpt-4o", tiers=tiers)) == ["mock", "gpt-4o"]
    assert listed(a=ModelSettings(name="openai", tiers=tiers)) == ["mock", "openai"]


@pytest.mark.parametrize("named", [{}, {"model": None}])
def test_a_moderation_without_a_model_goes_to_the_default_upstream(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock, named: dict[str, None]
) -> None:
    upstream.post("http://bare.test/v1/moderations", json={"id": "m", "model": "x", "results": [{}]})
    client = make_client(default_upstream="bare")
    assert post(client, {"input": "Hello", **named}, path="/v1/moderations").status_code == 200
    sent = json.loads(upstream.calls[0].request.body)  # type: ignore[union-attr, arg-type]
    assert sent == {"input": "Hello", "model": "omni-moderation-latest"}
    narrow = "Bearer other-key"
    refused = post(client, {"input": "Hello"}, path="/v1/moderations", Authorization=narrow)
    assert_refused(refused, 403, "model_not_allowed")
    assert_refused(post(client, {"messages": [{}], **named}), 400, None)
