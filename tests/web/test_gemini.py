"""Requests to Google's paths that are refused before any upstream is asked, in Google's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.planted import KEY

from flask_gateway.config.schema import UpstreamSettings

URL = "/v1beta/models/g:generateContent"


@pytest.fixture
def google(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    upstream = UpstreamSettings(name="google", kind="gemini", url="http://google.test/v1beta/openai")
    return make_client(upstreams=(upstream,), models=(), default_upstream="google")


def error_of(response: Any) -> tuple[int, str]:
    assert response.json is not None
    assert response.json["error"]["code"] == response.status_code
    return response.status_code, response.json["error"]["status"]


@pytest.mark.parametrize(
    ("url", "body", "expected"),
    [
        (URL, {}, (400, "INVALID_ARGUMENT")),
        ("/v1beta/models/g:streamGenerateContent?alt=proto", {"contents": []}, (400, "INVALID_ARGUMENT")),
        ("/v1beta/models/g:embedContent", {"contents": []}, (400, "INVALID_ARGUMENT")),
        ("/v1beta/models/g:batchEmbedContents", {"requests": {}}, (400, "INVALID_ARGUMENT")),
        ("/v1beta/models/g:batchEmbedContents", {"requests": [1]}, (400, "INVALID_ARGUMENT")),
        ("/v1beta/models/g:predict", {"instances": []}, (405, "UNIMPLEMENTED")),
        ("/v1beta/models/:generateContent", {"contents": []}, (405, "UNIMPLEMENTED")),
        ("/v1beta/files", {}, (400, "INVALID_ARGUMENT")),
    ],
)
def test_refusals_have_googles_form(google: FlaskClient, url: str, body: Any, expected: tuple[int, str]):
    assert error_of(google.post(url, json=body, headers=AUTH)) == expected


@pytest.mark.parametrize("url", [URL, "/v1/models/g:generateContent"])
def test_without_a_key_the_error_has_googles_form(google: FlaskClient, url: str):
    assert error_of(google.post(url, json={"contents": []})) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("url", ["/v1beta/models", "/v1/models"])
def test_the_models_in_googles_form(google: FlaskClient, url: str):
    response = google.get(url, headers={"x-goog-api-key": KEY})
    assert response.json is not None
    assert [model["name"] for model in response.json["models"]] == ["models/google"]
    assert google.get(f"{url}/google", headers={"x-goog-api-key": KEY}).json["name"] == "models/google"
    assert error_of(google.get(f"{url}/none", headers={"x-goog-api-key": KEY})) == (404, "NOT_FOUND")


def test_a_method_that_is_not_offered_is_named_with_those_that_are(google: FlaskClient):
    response = google.post("/v1/models/g:predict", json={}, headers=AUTH)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.json is not None
    assert "batchEmbedContents" in response.json["error"]["message"]


def test_a_key_in_the_url_counts_at_googles_paths_alone(google: FlaskClient):
    assert google.get(f"/v1beta/models?key={KEY}").status_code == 200
    assert google.get(f"/v1/models?key={KEY}").status_code == 401
