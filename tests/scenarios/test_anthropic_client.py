"""Runs the official ``anthropic`` client against the gateway: it behaves as against Anthropic.

The upstream is a scripted provider in this process. The ``model`` of a request names what it does.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import KEY, UPSTREAM_KEY, StartGateway
from kit.sdks import anthropic, openai
from kit.servers import Gateway

from flask_gateway.cli.selftest.scripted_provider import Exchange, PeerLeft, Request, ScriptedServer

pytestmark = pytest.mark.live

HELLO: Any = [{"role": "user", "content": "Hello"}]
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 100,
    "output_tokens": 7,
}
IDS = "request-id: req_up\r\n"
PING = {"type": "ping"}
STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


OPENING = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
TEXT = block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": t} for t in ("Hel", "lo")))
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
TOOLS = [
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Two."},
        {"type": "signature_delta", "signature": "c2ln/w=="},
    ),
    *block(
        1,
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"command": '},
        {"type": "input_json_delta", "partial_json": '"echo one"}'},
    ),
    *block(2, {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}}),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
]
#: The events of each stream, by the model that names it.
STREAMS: dict[str, list[dict[str, Any]]] = {
    "claude": [OPENING, PING, *TEXT, END, STOP],
    "tools": [OPENING, *TOOLS, STOP],
    "no-stop": [OPENING, *TEXT, END],
    "overloaded": [OPENING, PING, PING, OVERLOADED],
    "cut": [OPENING, *TEXT[:-1]],
}


#: The chunks of a chat upstream by the model: reasoning, text, a call in fragments.
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": ""},
    {"reasoning_content": "Two."},
    {"content": "Hel"},
    {"content": "lo"},
    {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "Bash", "arguments": '{"command": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"echo one"}'}}]},
]
CHUNKS: list[dict[str, Any]] = [
    *({"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in DELTAS),
    {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
]
CHAT_USAGE = {"id": "c", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
CHATS = {"full": [*CHUNKS, CHAT_USAGE], "without-usage": CHUNKS, "broken": CHUNKS[:4]}


def chat(exchange: Exchange, model: str) -> bool:
    """Stream the chunks one by one, as a model writes them."""
    exchange.begin()
    for data in CHATS[model]:
        exchange.write(f"data: {json.dumps(data)}\n\n".encode())
        time.sleep(0.01)
    if model == "broken":
        exchange.hang_up()
        return False
    exchange.write(b"data: [DONE]\n\n")
    exchange.end()
    return exchange.keep_alive


def serve(sock: socket.socket, request: Request, peer: int) -> bool:
    exchange, model = Exchange(sock, request), request.json.get("model")
    try:
        if request.path.endswith("/chat/completions"):
            return chat(exchange, str(model))
        if request.header("x-api-key") != UPSTREAM_KEY:
            exchange.answer(401, b"{}")
        elif "count_tokens" in request.path:
            exchange.answer(200, b'{"input_tokens": 12}')
        elif model == "refused":
            said = {"type": "error", "error": {"type": "invalid_request_error", "message": "no thinking"}}
            exchange.answer(400, json.dumps(said).encode(), headers=IDS)
        elif request.json.get("stream"):
            exchange.begin()
            for data in STREAMS[str(model)]:
                exchange.write(event(data))
            exchange.end()
        else:
            exchange.answer(200, json.dumps(MESSAGE).encode(), headers=IDS)
    except PeerLeft:
        return False
    return exchange.keep_alive


CONFIG = """
rate_limit_per_minute = 0
circuit_breaker_max_failures = 1000000
[keys.me]
key_env = "CALLER"
[upstreams.claude]
kind = "anthropic"
url = "{url}"
api_key_env = "PROVIDER"
[upstreams.chat]
url = "{url}"
"""
ROUTES = {
    "over": "[['claude/overloaded'], ['claude/claude']]",
    "chat-only": "[['chat/x']]",
    "across": "[['claude/overloaded'], ['chat/full']]",
    **{name: f"[['chat/{name}']]" for name in CHATS},
}


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ScriptedServer(serve)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        path = Path(tmp_path_factory.mktemp("anthropic")) / "gateway.toml"
        routes = {**{name: f"[['claude/{name}']]" for name in [*STREAMS, "refused"]}, **ROUTES}
        tables = [f"[models.{name}]\ntiers = {tiers}\n" for name, tiers in routes.items()]
        path.write_text(CONFIG.format(url=f"http://127.0.0.1:{server.port}") + "".join(tables))
        yield start_gateway(GATEWAY_CONFIG=str(path), CALLER=KEY, PROVIDER=UPSTREAM_KEY, GATEWAY_WORKERS="1")
    finally:
        server.close()
        thread.join()


@pytest.fixture(params=["x-api-key", "bearer"])
def client(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    own: Any = {"api_key": KEY} if request.param == "x-api-key" else {"auth_token": KEY}
    with anthropic.Anthropic(base_url=gateway.url, max_retries=0, timeout=15, **own) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="claude", max_tokens=9, messages=HELLO)
    assert message.content[0].text == "Hello"  # type: ignore[union-attr]
    assert message._request_id == "req_up"
    assert message.usage.cache_read_input_tokens == 100


@pytest.mark.parametrize("model", ["claude", "no-stop", "over"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_stream(client: anthropic.Anthropic, model: str, whole: bool) -> None:
    more = {"x-gateway-stream": "whole"} if whole else {}
    with client.messages.stream(model=model, max_tokens=9, messages=HELLO, extra_headers=more) as stream:
        assert "".join(stream.text_stream) == "Hello"
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 7)


def test_thinking_and_two_tools(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="tools", max_tokens=9, messages=HELLO) as stream:
        thinking, first, second = stream.get_final_message().content
    assert (thinking.type, thinking.signature) == ("thinking", "c2ln/w==")  # type: ignore[union-attr]
    assert (first.id, first.input) == ("toolu_1", {"command": "echo one"})  # type: ignore[union-attr]
    assert (second.name, second.input) == ("Read", {})  # type: ignore[union-attr]


def test_a_cut_raises(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="cut", max_tokens=9, messages=HELLO) as stream:
        texts = stream.text_stream
        assert next(texts) + next(texts) == "Hello"
        with pytest.raises(anthropic.APIStatusError) as caught:
            next(texts)
    assert caught.value.body["error"]["code"] == "upstream_stream_cut"  # type: ignore[index]


def test_counting_and_models(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="claude", messages=HELLO).input_tokens == 12
    listed = [model.id for model in client.models.list(limit=1000)]
    assert "claude" in listed
    assert client.models.retrieve("claude").display_name == "claude"


def test_errors(client: anthropic.Anthropic) -> None:
    def refused(kind: type[anthropic.APIStatusError], model: str, **more: int) -> anthropic.APIStatusError:
        with pytest.raises(kind) as caught:
            client.messages.create(model=model, max_tokens=9, messages=HELLO, extra_body=more)
        return caught.value

    error = refused(anthropic.BadRequestError, "refused")
    assert (error.request_id, error.body["error"]["message"]) == ("req_up", "no thinking")  # type: ignore[index]
    error = refused(anthropic.BadRequestError, "chat-only", top_k=5)
    assert "'chat'" in error.body["error"]["message"]  # type: ignore[index]
    assert refused(anthropic.NotFoundError, "nothing-of-it").request_id


def test_a_wrong_key(gateway: Gateway) -> None:
    stranger = anthropic.Anthropic(base_url=gateway.url, max_retries=0, api_key="wrong")
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="claude", max_tokens=9, messages=HELLO)


def test_usage_of_the_stream_is_in_the_log(gateway: Gateway, client: anthropic.Anthropic) -> None:
    own = {"x-request-id": f"usage-{type(client).__name__}-{client.auth_token is None}"}
    with client.messages.stream(model="claude", max_tokens=9, messages=HELLO, extra_headers=own) as stream:
        stream.until_done()
    line = gateway.logged(own["x-request-id"])
    assert (line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (115, 100, 7)
    assert (line["path"], line["status"]) == ("/v1/messages", 200)


# ---------------------------------------------------------------- at an upstream of chat


@pytest.mark.parametrize("model", ["full", "without-usage", "across"])
def test_a_stream_of_a_chat_upstream(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=9, messages=HELLO) as events:
        kinds = [one.type for one in events]
        message = events.get_final_message()
    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    thinking, text, call = message.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert thinking.type == "thinking"
    assert text.type == "text"
    assert call.type == "tool_use"
    assert (thinking.thinking, thinking.signature, text.text) == ("Two.", "", "Hello")
    assert (call.name, call.input, message.stop_reason) == ("Bash", {"command": "echo one"}, "tool_use")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (9, 4) or model == "without-usage"
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def test_a_cut_stream_of_a_chat_upstream_is_an_error(client: anthropic.Anthropic) -> None:
    stream = client.messages.stream(model="broken", max_tokens=9, messages=HELLO)
    with stream as events, pytest.raises(anthropic.APIStatusError) as caught:
        events.get_final_message()
    assert caught.value.body["error"]["code"] == "upstream_stream_cut"  # type: ignore[index]


def test_a_chat_client_streams_from_claude(gateway: Gateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=15) as client:
        request: Any = {"model": "tools", "messages": HELLO}
        with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as events:
            for _ in events:
                pass
            completion = events.get_final_completion()
    calls = completion.choices[0].message.tool_calls or []
    assert [(call.id, call.function.arguments) for call in calls] == [
        ("toolu_1", '{"command": "echo one"}'),
        ("toolu_2", "{}"),
    ]
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (115, 7)
