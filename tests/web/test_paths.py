"""Tests paths: other spellings of the gateway's own, paths of other APIs, and paths with one spelling."""

from __future__ import annotations

import time

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, chat

from flask_gateway.model.call import GEMINI, WITH_MODEL, Operation
from flask_gateway.web.paths import canonical, not_offered, unknown

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "operation",
    [
        *sorted({*WITH_MODEL} - {Operation.RESPONSE_SESSION, *GEMINI}),
        "models",
        "responses/resp_1",
        "responses/resp_1/cancel",
    ],
)
@pytest.mark.parametrize(
    "spelled",
    ["/v1/{}", "/{}", "//v1/{}", "///{}", "/v1/v1/{}", "/v1/{}/", "/v1//{}", "/openai/v1/{}", "/{}//"],
)
def test_other_spellings(operation: str, spelled: str):
    assert canonical(spelled.format(operation)) == f"/v1/{operation}"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v2/rerank", "/v1/rerank"),
        ("/audio/speech", "/v1/audio/speech"),
        ("/v1/v1/images//edits/", "/v1/images/edits"),
        ("/messages", "/v1/messages"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/v1/v1/messages/count_tokens/", "/v1/messages/count_tokens"),
        ("/anthropic/v1/models/a", "/v1/models/a"),
        ("/v1/v2/rerank", "/v1/rerank"),
        ("/chat//completions", CHAT),
        ("/models/mock", "/v1/models/mock"),
        ("//v1/models/a/b", "/v1/models/a/b"),
        ("/v1/v1/models/a//b", "/v1/models/a//b"),
        ("/v1/models/a/", "/v1/models/a"),
    ],
)
def test_more_spellings(path: str, meant: str):
    assert canonical(path) == meant


@pytest.mark.parametrize(
    "path",
    [
        *("//metrics", "//v1/circuit-breakers", "//health", "/v1", "/", "//", "", "/v2/chat/completions"),
        *("/v1x/models", "/V1/models", "/xv1/models", "/v1/chatcompletions", "//openapi.json", "/routes/m"),
    ],
)
def test_other_paths_have_one_spelling(path: str):
    assert canonical(path) == path


@pytest.mark.parametrize("path", ["/chat/completions", f"{CHAT}/", "/v1/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_calls_by_other_spellings_are_answered(client: FlaskClient, path: str, stream: bool):
    answer = client.post(path, json=chat("mock", stream=stream), headers=AUTH)
    assert answer.status_code == 200
    assert b"Hello" in answer.data
    assert client.get(path, headers=AUTH).status_code == 405
    assert client.post(path, json=chat("mock")).status_code == 401


def test_models_by_other_spellings(client: FlaskClient):
    for path in ("/models", "//v1/models", "/v1/models/"):
        answer = client.get(environ_overrides={"PATH_INFO": path}, headers=AUTH)
        assert answer.json == client.get("/v1/models", headers=AUTH).json
    answer = client.get(environ_overrides={"PATH_INFO": "//models/mock"}, headers=AUTH)
    assert answer.json["id"] == "mock"  # type: ignore[index]


@pytest.mark.parametrize("path", ["//health", "//v1/circuit-breakers", "//openapi.json", "/v1//routes/mock"])
def test_paths_with_proxy_rules_have_one_spelling(client: FlaskClient, path: str):
    assert client.get(environ_overrides={"PATH_INFO": path}).status_code == 401
    assert client.get(environ_overrides={"PATH_INFO": path}, headers=AUTH).status_code == 404


# ---------------------------------------------------------------- paths with one spelling


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/metrics", "/metrics"),
        ("/metrics", "/metrics?name=x"),
    ],
)
def test_metrics_are_served_at_the_exact_path(client: FlaskClient, path: str, raw: str):
    assert client.get(path, environ_overrides={"RAW_URI": raw}).status_code == 200


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("//metrics", "//metrics"),
        ("///metrics", "///metrics"),
        ("/metrics/", "/metrics/"),
        ("/metrics", "/%6detrics"),
        ("/metrics", "/metrics%20"[:5] + "%63s"),
        ("/metrics", "http://x/metrics"),
        ("/./metrics", "/./metrics"),
        ("/x/../metrics", "/x/../metrics"),
        ("/v1/metrics", "/v1/metrics"),
        ("/metrics;x", "/metrics;x"),
        ("/Metrics", "/Metrics"),
    ],
)
def test_other_spellings_of_the_metrics_path_are_404(client: FlaskClient, path: str, raw: str):
    environ = {"PATH_INFO": path, "RAW_URI": raw, "REQUEST_URI": raw}
    assert client.get("/", environ_overrides=environ).status_code == 401
    answer = client.get("/", environ_overrides=environ, headers=AUTH)
    assert answer.status_code == 404
    assert b"gateway_" not in answer.data


# ---------------------------------------------------------------- other APIs

FOREIGN = """
    /v1/messages/batches /v1/messages/batches/b/results /anthropic/v1/messages/batches
    /v1/complete
    /v1alpha/models/x:countTokens /upload/v1beta/files
    /api/chat /api/generate /api/tags /api/show /api/embed
    /api/version /openai/deployments/gpt-4o/chat/completions /openai/deployments/e/embeddings
    /key/generate /model/info /v1/model/info /v2/model/info /user/new /team/new /spend/logs
    /global/spend/report /v1/audio/voices /v1/images /v1/files
    /v1/files/f/content /v1/uploads /v1/batches /v1/vector_stores
    /v1/vector_stores/v/search /v1/assistants /v1/threads /v1/threads/t/runs /v1/conversations
    /v1/realtime/sessions /v1/realtime/client_secrets
    /v1/responses/resp_1/items /v1/responses/resp_1/cancel/x
    /v1/chat/completions/c1 /v1/fine_tuning/jobs /v1/videos /v1/containers
    /v1/evals /v1/edits /v1/engines /audio /v2/chat /v1/chat /v2/embed
    /v1/embed /tokenize /generate_stream /model/x/converse /v1/organization/usage/completions
"""


@pytest.mark.parametrize("path", FOREIGN.split())
@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_paths_of_other_apis_are_answered_with_advice(client: FlaskClient, path: str, method: str):
    assert client.open(path, method=method).status_code == 401
    answer = client.open(path, method=method, headers=AUTH, json={"model": "mock"})
    assert answer.status_code == 400
    error = answer.json["error"]  # type: ignore[index]
    assert error["code"] == "not_offered"
    assert error["message"].endswith(".")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/x", "/api", "/api/x", "/v1/message", "/keys", "/é"])
def test_an_unknown_path_is_not_mistaken_for_another_api(path: str):
    assert not_offered(path) is None


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/chat/completion", CHAT),
        ("/v1/chat-completions", CHAT),
        ("/v2/chat/completions", CHAT),
        ("/V1/Chat/Completions", CHAT),
        ("/api/v1/chat/completions", CHAT),
        ("/v1/embedding", "/v1/embeddings"),
        ("/v1/response", "/v1/responses"),
        ("/v1/model", "/v1/models"),
        ("/v1/reranking", "/v1/rerank"),
    ],
)
def test_the_error_for_an_unknown_path_names_the_nearest(client: FlaskClient, path: str, nearest: str):
    answer = client.post(path, headers=AUTH)
    assert answer.status_code == 404
    assert f" {nearest}." in answer.json["error"]["message"]  # type: ignore[index]


def test_long_and_odd_paths_cost_little():
    began = time.process_time()
    for path in (
        "/" * 4000,
        "/v1" * 1300,
        "/models/" + "/" * 4000,
        "/a" * 2000,
        "/v1/models/x" + "/" * 4000 + "y",
    ):
        canonical(path), not_offered(path), unknown("GET", path)
    assert time.process_time() - began < 0.5


# ---------------------------------------------------------------- HEAD on the root


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_head_on_the_root_needs_no_key(client: FlaskClient, path: str):
    answer = client.head(path)
    assert (answer.status_code, answer.data) == (200, b"")
    assert client.get(path).status_code == 401


def test_the_root_describes_the_gateway(client: FlaskClient):
    answer = client.get("/", headers=AUTH)
    assert answer.status_code == 200
    assert answer.json["api"] == "/v1"  # type: ignore[index]
