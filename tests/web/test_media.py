"""The paths of sound and pictures: what they take, what they refuse, and that no upload stays."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.upstream_mock import UpstreamMock
from kit.web_calls import assert_refused

from flask_gateway.guards.body_memory import BodyLease

Make = Callable[..., FlaskClient]


def send(client: FlaskClient, path: str = "audio/transcriptions", **fields: Any) -> Any:
    data = {"model": "llama", "file": (io.BytesIO(b"x" * 4000), "a.mp3"), **fields}
    data = {name: value for name, value in data.items() if value is not None}
    return client.post(f"/v1/{path}", data=data, headers=AUTH, content_type="multipart/form-data")


def space(client: FlaskClient) -> int:
    used: int = client.application.extensions["gateway"].upload_space.used
    return used


def test_a_transcript(client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        upstream.post("http://llama.test/v1/audio/transcriptions", json={"text": "Hello"})
        answer = send(client, language="de")
    assert answer.json == {"text": "Hello"}
    assert answer.headers["x-gateway-upstream"] == "llama"
    assert space(client) == 0


def test_an_answer_that_fails_frees_the_space(client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        upstream.post(
            "http://llama.test/v1/audio/transcriptions", status=400, json={"error": {"message": "No."}}
        )
        assert send(client).status_code == 400
    assert space(client) == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ["a", "b"]}, "model"),
        ({"file": None}, "file"),
        ({"fallbacks": "a"}, "fallbacks"),
        ({"stream": "maybe"}, "stream"),
        ({"n": "two"}, "n"),
        ({"user": ["a", "b"]}, "user"),
    ],
)
def test_fields_are_refused_by_name(client: FlaskClient, fields: dict[str, Any], param: str) -> None:
    assert assert_refused(send(client, **fields), 400, None)["param"] == param
    assert space(client) == 0


def test_the_model_of_a_form_must_be_allowed(client: FlaskClient) -> None:
    form = {"model": "llama", "file": (io.BytesIO(b"x"), "a.mp3")}
    headers = {"Authorization": "Bearer other-key"}
    answer = client.post("/v1/audio/translations", data=form, headers=headers)
    assert_refused(answer, 403, "model_not_allowed")


def test_fallbacks_of_a_form_are_named_in_a_header(client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        upstream.post("http://llama.test/v1/audio/transcriptions", status=503)
        upstream.post("http://bare.test/v1/audio/transcriptions", json={"text": "Hello"})
        form = {"model": "llama", "file": (io.BytesIO(b"x"), "a.mp3")}
        headers = AUTH | {"x-gateway-fallbacks": "bare"}
        answer = client.post("/v1/audio/transcriptions", data=form, headers=headers)
    assert answer.headers["x-gateway-upstream"] == "bare"


def test_an_edit_may_be_json_and_a_variation_has_a_model_of_its_own(client: FlaskClient) -> None:
    pictures = {"created": 1, "data": [{"b64_json": "AA"}]}
    with UpstreamMock() as upstream:
        upstream.post("http://llama.test/v1/images/edits", json=pictures)
        body = {"model": "llama", "prompt": "Redder", "images": [{"image_url": "data:,"}]}
        assert client.post("/v1/images/edits", json=body, headers=AUTH).json == pictures
    answer = send(client, "images/variations", model=None)
    assert "dall-e-2" in assert_refused(answer, 404, "model_not_found")["message"]


def test_an_upload_beyond_the_limit_or_the_space(make_client: Make) -> None:
    assert_refused(send(make_client(max_upload_bytes=1000)), 413, "request_too_large")
    full = make_client(max_upload_bytes=200_000, upload_space_bytes=1)
    gateway = full.application.extensions["gateway"]
    with closing(Held(gateway.upload_space.lease("team-a"))):
        large = (io.BytesIO(b"x" * 99_000), "a.mp3")
        refused = assert_refused(send(full, file=large), 503, "overloaded")
    assert "disk space" in refused["message"]
    assert space(full) == 0


class Held:
    """Most of the space on disk."""

    def __init__(self, lease: BodyLease) -> None:
        self._lease = lease
        lease.hold(150_000)

    def close(self) -> None:
        self._lease.release()
