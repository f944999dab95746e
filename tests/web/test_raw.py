"""Raw paths, at an upstream that is mocked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.upstream_mock import UpstreamMock
from kit.web_calls import assert_refused

from flask_gateway.config.schema import UpstreamSettings
from flask_gateway.model.raw_path import RawPath

RAW = (RawPath("GET", "files/*"), RawPath("POST", "batches"))
UPSTREAMS = (
    UpstreamSettings(name="llama", url="http://llama.test/v1", raw=RAW),
    UpstreamSettings(name="bare", url="http://bare.test/v1"),
)


@pytest.fixture
def raw_client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(upstreams=UPSTREAMS, models=(), max_upload_bytes=1000)


def test_there_is_nothing_by_default(client: FlaskClient) -> None:
    assert_refused(client.get("/v1/raw/llama/files/x", headers=AUTH), 404, "unknown_url")


def test_a_listed_path_passes(raw_client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        upstream.post("http://llama.test/v1/batches", json={"id": "b"}, status=201)
        headers = AUTH | {"OpenAI-Beta": "x=1", "X-Other": "y", "Content-Type": "application/json"}
        answer = raw_client.post("/v1/raw/llama/batches", data=b"{}", headers=headers)
        sent = upstream.calls[-1].request.headers
    assert (answer.status_code, answer.json) == (201, {"id": "b"})
    assert (sent["openai-beta"], sent["content-type"]) == ("x=1", "application/json")
    assert "x-other" not in {name.lower() for name in sent}
    assert "key" not in {name.lower() for name in sent}


@pytest.mark.parametrize("path", ["llama/models", "bare/files/x", "llama/files/a%2e%2e", "llama/files/x/y"])
def test_other_paths_do_not(raw_client: FlaskClient, path: str) -> None:
    assert_refused(raw_client.get(f"/v1/raw/{path}", headers=AUTH), 404, "unknown_url")


def test_a_body_has_its_bound_and_no_coding(raw_client: FlaskClient) -> None:
    space = raw_client.application.extensions["gateway"].upload_space
    large = raw_client.post("/v1/raw/llama/batches", data=bytes(1001), headers=AUTH)
    assert_refused(large, 413, "request_too_large")
    coded = raw_client.post("/v1/raw/llama/batches", data=b"x", headers=AUTH | {"Content-Encoding": "gzip"})
    assert_refused(coded, 415, "unsupported_media_type")
    odd = raw_client.get("/v1/raw/llama/files/x", headers=AUTH | {"OpenAI-Beta": "x" * 2000})
    assert assert_refused(odd, 400, None)["param"] == "openai-beta"
    assert space.used == 0


def test_an_error_of_the_upstream_has_its_words(raw_client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        error = {"message": "No such file.", "type": "invalid_request_error"}
        upstream.get("http://llama.test/v1/files/x", status=404, json={"error": error})
        answer = raw_client.get("/v1/raw/llama/files/x", headers=AUTH)
    assert answer.status_code == 404
    assert answer.json["error"]["message"] == "No such file."  # type: ignore[index]
