"""Tests that a request which refers to stored state goes to the upstream that holds it, or is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH, make_settings
from kit.replies import PlainTranscript, ScriptedSource
from kit.upstream_mock import UpstreamMock
from werkzeug.test import TestResponse

from flask_gateway import create_app
from flask_gateway.config.schema import CandidateSettings, ModelSettings, UpstreamSettings
from flask_gateway.model.reply import Reply
from flask_gateway.routing.affinity import _Tap
from flask_gateway.routing.origins import Origins
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import SharedStore
from flask_gateway.state.store import Store


def candidate(upstream: str) -> CandidateSettings:
    return CandidateSettings(upstream=upstream, model="m")


IN_TURN = ModelSettings(name="m", tiers=((candidate("a"), candidate("b")),))
IN_TIERS = ModelSettings(name="tiers", tiers=((candidate("a"),), (candidate("b"),)))
ALONE = ModelSettings(name="alone", tiers=((candidate("a"),),))


class Upstreams:
    """Two upstreams that answer, and note which of them was asked."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.asked: list[str] = []
        self.down: set[str] = set()
        self.made = 0
        for name in "ab":
            for path in ("responses", "chat/completions"):
                url = f"http://{name}.test/v1/{path}"
                mock.add_callback("POST", url, lambda request, name=name: self.answer(name, request))

    def answer(self, name: str, request: Any) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(name)
        if name in self.down:
            return 503, {}, b""
        self.made += 1
        body = json.loads(request.body)
        if "messages" in body:
            return (
                200,
                {"Content-Type": "application/json"},
                json.dumps({"id": "1", "choices": [{}]}).encode(),
            )
        response = {
            "id": f"resp_{name}{self.made}",
            "object": "response",
            "status": "completed",
            "output": [{"type": "message", "id": f"msg_{name}{self.made}"}],
            "conversation": {"id": f"conv_{name}{self.made}"},
            "error": None,
        }
        if not body.get("stream"):
            return 200, {"Content-Type": "application/json"}, json.dumps(response).encode()
        item = {"type": "message", "id": f"item_{name}{self.made}"}
        events = [
            {"type": "response.created", "response": {"id": response["id"], "output": []}},
            {"type": "response.output_text.delta", "delta": "hello"},
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": {**response, "output": [item]}},
        ]
        data = b"".join(
            b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events
        )
        return 200, {"Content-Type": "text/event-stream"}, data


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with UpstreamMock(assert_all_requests_are_fired=False) as mock:
        yield Upstreams(mock)


def client_of(store: Store, *names: str) -> FlaskClient:
    upstreams = tuple(UpstreamSettings(name=name, url=f"http://{name}.test/v1") for name in names or "ab")
    models = (IN_TURN, IN_TIERS, ALONE) if len(upstreams) > 1 else (ALONE,)
    return create_app(make_settings(upstreams=upstreams, models=models), store).test_client()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return client_of(store)


def respond(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/v1/responses", json={"model": "m", "input": "x", **fields}, headers=AUTH)


def refused(answer: TestResponse, param: str, code: str = "state_not_here") -> str:
    assert answer.status_code == 400, answer.data
    error = answer.json["error"]  # type: ignore[index]
    assert (error["param"], error["code"]) == (param, code)
    return str(error["message"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "conversation object", "item"])
def test_a_follow_up_goes_to_the_upstream_with_its_state(
    client: FlaskClient, upstreams: Upstreams, stream: bool, field: str
) -> None:
    for _ in range(5):
        before = respond(client, stream=stream)
        made = before.data.decode()
        where = upstreams.asked[-1]
        number = upstreams.made
        item = f"{'item' if stream else 'msg'}_{where}{number}"
        assert item in made
        follow_up: dict[str, Any] = {
            "previous_response_id": {"previous_response_id": f"resp_{where}{number}"},
            "conversation": {"conversation": f"conv_{where}{number}"},
            "conversation object": {"conversation": {"id": f"conv_{where}{number}"}},
            "item": {"input": [{"type": "item_reference", "id": item}, {"role": "user", "content": "go on"}]},
        }[field]
        for _ in range(2):
            after = respond(client, stream=stream, **follow_up)
            assert after.status_code == 200, after.data
            assert after.data
            assert upstreams.asked[-1] == where


def test_all_workers_know_the_upstream_even_after_a_reload(upstreams: Upstreams) -> None:
    store = SharedStore()
    one, other = client_of(store), client_of(store)
    for _ in range(4):
        made = respond(one).json["id"]  # type: ignore[index]
        where = upstreams.asked[-1]
        assert respond(other, previous_response_id=made).status_code == 200
        assert upstreams.asked[-1] == where
    store.close()


def test_a_pinned_call_never_fails_over(client: FlaskClient, upstreams: Upstreams) -> None:
    made = respond(client, model="tiers").json["id"]  # type: ignore[index]
    upstreams.down = {"a"}
    upstreams.asked.clear()
    assert respond(client, model="tiers", previous_response_id=made).status_code in (502, 503)
    assert set(upstreams.asked) == {"a"}


def test_a_response_of_the_second_tier_is_followed_up_there(
    client: FlaskClient, upstreams: Upstreams
) -> None:
    upstreams.down = {"a"}
    made = respond(client, model="tiers").json["id"]  # type: ignore[index]
    upstreams.down = set()
    respond(client, model="tiers", previous_response_id=made)
    assert upstreams.asked[-1] == "b"


@pytest.mark.parametrize("model", ["m", "tiers"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_unknown"}, "previous_response_id"),
        ({"conversation": "conv_unknown"}, "conversation"),
        ({"conversation": {"id": "conv_unknown"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_unknown"}]}, "input"),
        ({"input": [{"id": "msg_unknown"}]}, "input"),
    ],
)
def test_an_unknown_reference_is_refused_and_its_field_named(
    client: FlaskClient, upstreams: Upstreams, model: str, fields: dict[str, Any], param: str
) -> None:
    code = "previous_response_not_found" if param == "previous_response_id" else "state_not_here"
    message = refused(respond(client, model=model, **fields), param, code)
    assert "unknown" in message
    assert "Send the whole input instead" in message
    assert upstreams.asked == []


@pytest.mark.parametrize("names", ["ab", "a"])
def test_a_single_possible_upstream_needs_no_look_up(
    store: MemoryStore, upstreams: Upstreams, names: str
) -> None:
    client = client_of(store, *names)
    for fields in ({"previous_response_id": "resp_x"}, {"conversation": "c"}, {"prompt": {"id": "pmpt_1"}}):
        assert respond(client, model="alone", **fields).status_code == 200
    assert set(upstreams.asked) == {"a"}


FILES: list[tuple[dict[str, Any], str]] = [
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, "input"),
    ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools"),
    ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "tools"),
    (
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]},
        "tools",
    ),
    ({"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}}, "prompt"),
]


@pytest.mark.parametrize(("fields", "param"), FILES)
def test_files_go_to_the_upstream_that_is_always_first(
    client: FlaskClient, upstreams: Upstreams, fields: dict[str, Any], param: str
) -> None:
    assert respond(client, model="tiers", **fields).status_code == 200
    upstreams.down = {"a"}
    assert respond(client, model="tiers", **fields).status_code in (502, 503)
    assert set(upstreams.asked) == {"a"}


@pytest.mark.parametrize(("fields", "param"), FILES)
def test_files_are_refused_if_no_upstream_is_always_first(
    client: FlaskClient, upstreams: Upstreams, fields: dict[str, Any], param: str
) -> None:
    refused(respond(client, **fields), param)
    assert upstreams.asked == []


def test_a_file_goes_to_the_upstream_of_a_known_response(client: FlaskClient, upstreams: Upstreams) -> None:
    made = respond(client).json["id"]  # type: ignore[index]
    where = upstreams.asked[-1]
    assert respond(client, previous_response_id=made, **FILES[0][0]).status_code == 200
    assert upstreams.asked[-1] == where


def test_a_file_in_a_chat_goes_to_the_upstream_that_is_always_first(
    client: FlaskClient, upstreams: Upstreams
) -> None:
    content = [{"type": "file", "file": {"file_id": "file-1"}}]
    messages = [{"role": "user", "content": content}]

    def ask(model: str) -> TestResponse:
        body = {"model": model, "messages": messages}
        return client.post("/v1/chat/completions", json=body, headers=AUTH)

    refused(ask("m"), "messages")
    upstreams.down = {"a"}
    assert ask("tiers").status_code in (502, 503)
    assert set(upstreams.asked) == {"a"}


def test_references_to_two_upstreams_are_refused(client: FlaskClient, upstreams: Upstreams) -> None:
    made = [respond(client).json["id"] for _ in range(4)]  # type: ignore[index]
    one = next(name for name in made if name.startswith("resp_a"))
    other = next(name for name in made if name.startswith("resp_b"))
    items = [{"type": "item_reference", "id": other}]
    assert "two upstreams" in refused(respond(client, previous_response_id=one, input=items), "input")


def test_a_response_that_is_not_stored_is_not_remembered(
    client: FlaskClient, upstreams: Upstreams, store: MemoryStore
) -> None:
    made = respond(client, store=False).json["id"]  # type: ignore[index]
    assert list(store.scan("origins:")) == []
    refused(respond(client, previous_response_id=made), "previous_response_id", "previous_response_not_found")


@pytest.mark.parametrize("names", ["ab", "a"])
@pytest.mark.parametrize("stream", [False, True])
def test_background_responses_that_are_not_stored_are_refused(
    store: MemoryStore, upstreams: Upstreams, names: str, stream: bool
) -> None:
    client = client_of(store, *names)
    answer = respond(client, model="alone", background=True, store=False, stream=stream)
    assert "can be fetched" in refused(answer, "background", None)  # type: ignore[arg-type]
    assert upstreams.asked == []
    for harmless in (False, None, True):
        assert respond(client, model="alone", background=harmless).status_code == 200


@pytest.mark.parametrize("names", ["ab", "a"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_response_is_known_to_its_key_alone(
    store: MemoryStore, upstreams: Upstreams, names: str, stream: bool
) -> None:
    client = client_of(store, *names)
    respond(client, model="alone", stream=stream).get_data()
    origins = Origins(store)
    assert origins.upstream_of("team-a/resp_a1", "ab") == "a"
    assert origins.upstream_of("team-b/resp_a1", "ab") is None


class Postponing(PlainTranscript):
    """A transcript that postpones a large event."""

    def catch_up(self) -> bytes:
        return b'data: {"type":"response.completed","response":{"id":"resp_late"}}\n\n'


def test_the_collector_of_ids_postpones_large_events_and_reads_them() -> None:
    inner = Postponing()
    tap = _Tap(inner)
    reply = Reply(ScriptedSource(b""), tap, "up")
    assert not tap.postpones
    reply.settle_with(lambda work: work())
    assert inner.postpones
    assert tap.postpones
    tap.catch_up()
    assert tap.ids == ["resp_late"]


def test_null_refers_to_nothing(client: FlaskClient, upstreams: Upstreams) -> None:
    fields = {"previous_response_id": None, "conversation": None, "prompt": None}
    assert {respond(client, **fields).status_code for _ in range(4)} == {200}
    assert set(upstreams.asked) == {"a", "b"}


def test_a_removed_upstream_is_not_found(store: MemoryStore) -> None:
    origins = Origins(store)
    origins.remember(["resp_1"], "a")
    assert origins.upstream_of("resp_1", ["b", "c"]) is None
    origins.remember(["resp_1"], "b")
    assert origins.upstream_of("resp_1", ["a", "b"]) == "b"


UPLOAD = {"type": "container_upload", "file_id": "f"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"container": "container_1"}, "container"),
        ({"container": {"id": "container_1"}}, "container"),
        ({"thread": "thread_1"}, "thread"),
        ({"messages": [{"role": "user", "content": [UPLOAD]}]}, "messages"),
    ],
)
def test_state_of_messages_stays_at_one_upstream(
    client: FlaskClient, upstreams: Upstreams, body: dict[str, Any], param: str
) -> None:
    message = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}], **body}
    refused = client.post("/v1/messages", json={**message, "model": "m"}, headers=AUTH)
    assert refused.status_code == 400
    assert refused.json is not None
    assert (refused.json["error"]["code"], refused.json["error"]["param"]) == ("state_not_here", param)
    # The only upstream of the first tier has chat alone, and no other is asked.
    refused = client.post("/v1/messages", json={**message, "model": "tiers"}, headers=AUTH)
    assert refused.json is not None
    assert refused.json["error"]["code"] == "unsupported_field"
    assert refused.json["error"]["param"].startswith(param)
    assert upstreams.asked == []
