"""Stored responses and raw paths through a running gateway with two providers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.media_provider import MediaProvider
from kit.response_provider import StoringAnswers
from kit.sdks import openai
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import ask

OTHER, NARROW = "a-second-key-of-another-team", "a-third-key-with-one-model"
SETTINGS = """
[upstreams.a]
url = "{a}"
raw = ["GET files/**", "POST files", "POST batches", "DELETE files/*"]
[upstreams.b]
url = "{b}"
raw = ["POST batches", "GET files/*"]
[upstreams.mock]
url = "mock://local"

[models.m]
tiers = [["a/m", "b/m"]]

[ledger]
data = "{data}"
[prices."b/raw"]
per_request = "0.01"
[prices."a/m"]
input = "1"
output = "1"
[prices."b/m"]
input = "1"
output = "1"
[prices."a/whisper"]
per_second = "0.001"

[keys.one]
key_env = "KEY_ONE"
[keys.two]
key_env = "KEY_TWO"
models = ["m", "*/raw"]
budgets = [{{ amount = "10", window = "day" }}]
[keys.three]
key_env = "KEY_THREE"
models = ["m"]
"""


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[MediaProvider, MediaProvider]]:
    first, second = MediaProvider(StoringAnswers("a")), MediaProvider(StoringAnswers("b"))
    yield first, second
    first.close()
    second.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("ledger")
    folder.chmod(0o700)
    return folder


@pytest.fixture(scope="module")
def gateway(
    providers: tuple[MediaProvider, MediaProvider],
    start_gateway: StartGateway,
    tmp_path_factory: pytest.TempPathFactory,
    data: Path,
) -> Gateway:
    settings = tmp_path_factory.mktemp("stored") / "gateway.toml"
    settings.write_text(SETTINGS.format(a=providers[0].url, b=providers[1].url, data=data))
    return start_gateway(
        GATEWAY_CONFIG=str(settings),
        KEY_ONE=KEY,
        KEY_TWO=OTHER,
        KEY_THREE=NARROW,
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
    )


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_a_response_is_fetched_listed_cancelled_and_deleted_where_it_is(client: openai.OpenAI) -> None:
    made = [client.responses.create(model="m", input="Hello") for _ in range(4)]
    assert {one.id[5] for one in made} == {"a", "b"}
    for one in made:
        assert client.responses.retrieve(one.id).id == one.id
        assert client.responses.input_items.list(one.id).data[0].id == "msg_1"
        assert client.responses.cancel(one.id).status == "cancelled"
        client.responses.delete(one.id)
        with pytest.raises(openai.NotFoundError, match="not found"):
            client.responses.retrieve(one.id)


def test_a_response_in_the_background_is_fetched_later(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="Hello", background=True)
    assert made.status == "queued"
    stream = client.responses.retrieve(made.id, stream=True, starting_after=0)
    assert [event.type for event in stream][-1] == "response.completed"
    with client.responses.create(model="m", input="Hello", background=True, stream=True) as events:
        first = next(iter(events))
    assert first.type == "response.created"
    assert client.responses.retrieve(first.response.id).id == first.response.id


@pytest.mark.parametrize("body", [{"model": "m", "store": False}, {"model": "mock"}])
def test_a_background_that_could_not_be_fetched_is_refused(gateway: Gateway, body: dict[str, Any]) -> None:
    answer = gateway.ask("POST", "/v1/responses", {**body, "input": "Hello", "background": True})
    assert (answer.status, answer.error["param"]) == (400, "background")


def test_a_key_reaches_its_own_responses_only(gateway: Gateway, client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="Hello").id
    headers = {"authorization": f"Bearer {OTHER}"}
    for method, path in (("GET", made), ("DELETE", made), ("POST", f"{made}/cancel"), ("GET", "resp_x")):
        answer = ask(gateway.port, method, f"/v1/responses/{path}", headers=headers)
        assert (answer.status, answer.error["code"]) == (404, "response_not_found")
    assert client.responses.retrieve(made).id == made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses/a%2Fb", 400),
        ("GET", "/v1/responses/..%2f..", 400),
        ("GET", "/v1/responses/resp_1?x=%22<", 400),
        ("POST", "/v1/responses/compact", 405),
        ("GET", "/responses/resp_1", 404),
    ],
)
def test_odd_ids_are_refused(gateway: Gateway, method: str, path: str, status: int) -> None:
    assert gateway.ask(method, path).status == status


# ---------------------------------------------------------------- raw paths


def raw(gateway: Gateway, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return gateway.ask(method, f"/v1/raw/{path}", body, **headers)


def test_a_raw_path_passes_as_it_is(gateway: Gateway, providers: tuple[MediaProvider, MediaProvider]) -> None:
    sent = b"\x00\x01" * 50_000
    answer = raw(gateway, "POST", "a/files?purpose=batch", sent, content_type="application/x-odd")
    assert (answer.status, answer.json["bytes"]) == (201, len(sent))
    assert answer.json["type"] == "application/x-odd"
    assert answer.json["path"] == "/v1/files?purpose=batch"
    assert answer.headers["x-gateway-upstream"] == "a"
    assert providers[0].last.body == sent
    assert "x-gateway-attempts" in answer.headers
    assert raw(gateway, "DELETE", "a/files/file_1").json["id"] == "file_a"
    content = raw(gateway, "GET", "a/files/file_1/content")
    assert content.body == b'{"a":1}\n' * 20_000
    assert content.headers["content-type"] == "application/jsonl"


def test_raw_answers_keep_their_status_and_become_no_page(gateway: Gateway) -> None:
    assert raw(gateway, "GET", "a/files/none").status == 204
    gone = raw(gateway, "GET", "a/files/gone")
    assert (gone.status, gone.json["error"]["message"]) == (404, "No such file.")
    assert raw(gateway, "GET", "a/files/page").headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "a/batches"),
        ("GET", "b/files"),
        ("GET", "b/files/x/content"),
        ("GET", "a/files/../models"),
        ("GET", "a/files/%2e%2e/models"),
        ("GET", "a/files/x%2fy"),
        ("GET", "a/files//x"),
        ("GET", "mock/files/x"),
        ("GET", "nobody/files/x"),
        ("PUT", "a/files"),
    ],
)
def test_a_path_that_is_not_listed_is_not_found(gateway: Gateway, method: str, path: str) -> None:
    answer = raw(gateway, method, path)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


def test_a_key_with_a_list_of_models_needs_raw_in_it(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {NARROW}"}
    answer = ask(gateway.port, "GET", "/v1/raw/b/files/x", headers=headers)
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")


def test_a_raw_request_is_never_free_of_a_budget(gateway: Gateway, data: Path) -> None:
    headers = {"authorization": f"Bearer {OTHER}"}
    refused = ask(gateway.port, "GET", "/v1/raw/a/files/x", headers=headers)
    assert (refused.status, refused.error["code"]) == (403, "model_not_priced")
    assert '[prices."a/raw"]' in refused.error["message"]
    paid = ask(gateway.port, "POST", "/v1/raw/b/batches", {"input_file_id": "f"}, headers)
    assert paid.status == 201
    assert until(lambda: charges(data, "two", "raw") == [10_000_000])


def test_a_response_in_the_background_costs_its_limit_and_its_fetching_nothing(
    gateway: Gateway, data: Path
) -> None:
    headers = {"authorization": f"Bearer {OTHER}"}
    body = {"model": "m", "input": "Hello", "background": True, "max_output_tokens": 1000}
    made = ask(gateway.port, "POST", "/v1/responses", body, headers).json["id"]
    assert ask(gateway.port, "GET", f"/v1/responses/{made}", headers=headers).status == 200
    assert until(lambda: charges(data, "two", "m") == [1_002_000])


def charges(data: Path, key: str, model: str) -> list[int]:
    """The costs of a key's calls of a model, nano-dollars."""
    with closing(sqlite3.connect(data / "ledger.db")) as ledger:
        query = "SELECT cost FROM charge WHERE key = ? AND upstream_model = ?"
        return [cost for (cost,) in ledger.execute(query, (key, model))]
