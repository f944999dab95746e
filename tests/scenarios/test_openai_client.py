"""Runs the official ``openai`` client against the gateway: it behaves as against OpenAI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kit.gateways import KEY
from kit.sdks import openai
from kit.servers import Gateway, Upstream
from pydantic import BaseModel

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def connect(gateway: Gateway, key: str = KEY, **settings) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=key, **{"max_retries": 0, "timeout": 15, **settings}
    )


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with connect(gateway) as client:
        yield client


#: One upstream over HTTP, and one that needs no server.
BOTH = pytest.mark.parametrize("model", ["scripted", "mock"])


# ---------------------------------------------------------------- chat


@BOTH
def test_chat(client: openai.OpenAI, model):
    answer = client.chat.completions.create(model=model, messages=HELLO)
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


@BOTH
def test_chat_streams(client: openai.OpenAI, model):
    with client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream:
        chunks = list(stream)
        assert stream.response.headers["x-request-id"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any(chunk.usage for chunk in chunks)


@BOTH
def test_chat_streams_with_usage(client: openai.OpenAI, model):
    wanted = {"include_usage": True}
    with client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options=wanted
    ) as stream:
        *chunks, last = list(stream)
    assert last.choices == []
    assert last.usage.total_tokens > 0
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["tools", "mock"])
def test_tool_calls(client: openai.OpenAI, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.function.arguments.startswith("{")


@pytest.mark.parametrize("model", ["tools", "mock"])
def test_tool_calls_stream(client: openai.OpenAI, model):
    with client.chat.completions.stream(model=model, messages=HELLO, tools=[WEATHER]) as stream:
        choice = stream.get_final_completion().choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert call.function.arguments in ('{"city":"Oslo"}', "{}")


def test_the_stream_helper_adds_up_the_text(client: openai.OpenAI):
    with client.chat.completions.stream(model="ok", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == "tok0 tok1 tok2 "


# ---------------------------------------------------------------- the other operations


def test_completions(client: openai.OpenAI):
    answer = client.completions.create(model="mock", prompt="Once upon")
    assert answer.choices[0].text.endswith('you said "Once upon"')
    with client.completions.create(model="mock", prompt="Once upon", stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_embeddings_in_the_clients_own_base64(client: openai.OpenAI):
    answer = client.embeddings.create(model="mock", input=["one", "two"])
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    plain = client.embeddings.create(model="mock", input=["one", "two"], encoding_format="float")
    for packed, listed in zip(answer.data, plain.data, strict=True):
        assert packed.embedding == pytest.approx(listed.embedding, rel=1e-5)
    assert answer.usage.prompt_tokens == 2


def test_responses(client: openai.OpenAI):
    answer = client.responses.create(model="mock", input="Hi")
    assert answer.status == "completed"
    assert answer.output_text == 'Mock answer from mock: you said "Hi"'
    assert answer.usage.output_tokens == 7


def test_responses_stream(client: openai.OpenAI):
    with client.responses.create(model="mock", input="Hi", stream=True) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    with client.responses.stream(model="mock", input="Hi") as stream:
        assert stream.get_final_response().output_text == text


def test_moderations(client: openai.OpenAI):
    answer = client.moderations.create(model="mock", input="Hi")
    assert answer.results[0].flagged is False


def test_models(client: openai.OpenAI):
    names = [model.id for model in client.models.list()]
    assert {"scripted", "mock"} <= set(names)
    assert client.models.retrieve("mock").object == "model"


# ---------------------------------------------------------------- errors


def raised(
    client: openai.OpenAI, kind: type[openai.APIStatusError], model: str = "ok", **more
) -> openai.APIStatusError:
    """The error of a chat completion, streamed or not. Asserts its exact class."""
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=model, messages=HELLO, stream=stream, **more)
        assert type(caught.value) is kind
        assert caught.value.request_id
        assert caught.value.message
    return caught.value


def test_a_wrong_key_is_an_authentication_error(gateway: Gateway):
    with connect(gateway, "wrong") as client:
        error = raised(client, openai.AuthenticationError)
    assert (error.status_code, error.code, error.type) == (401, "invalid_api_key", "invalid_request_error")


@pytest.mark.parametrize("kind", ["context_length_exceeded", "content_policy_violation"])
def test_the_upstreams_400_is_a_bad_request_error(client: openai.OpenAI, kind):
    error = raised(client, openai.BadRequestError, f"status,code=400,kind={kind},param=messages")
    assert (error.code, error.param, error.body["message"]) == (kind, "messages", "Scripted 400.")


def test_the_gateways_400_is_a_bad_request_error(client: openai.OpenAI):
    error = raised(client, openai.BadRequestError, "")
    assert error.param == "model"


def test_a_forbidden_model_is_a_permission_denied_error(strict: Gateway):
    with connect(strict, "key-narrow") as client:
        error = raised(client, openai.PermissionDeniedError, "fast")
        assert (error.status_code, error.code) == (403, "model_not_allowed")
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("fast")


def test_the_upstreams_404_is_a_not_found_error(client: openai.OpenAI):
    assert raised(client, openai.NotFoundError, "status,code=404").code == "scripted_404"


def test_a_model_is_retrieved_by_its_name(client: openai.OpenAI):
    assert client.models.retrieve("mock").owned_by == "mock"
    assert client.models.retrieve("gpt-4o").created > 0  # by the default upstream
    with pytest.raises(openai.NotFoundError) as caught:
        client.post("/nothing", cast_to=object)
    assert caught.value.code == "unknown_url"


def test_a_moderation_needs_no_model(gateway: Gateway, client: openai.OpenAI):
    assert client.moderations.create(input="Hello", model="mock").results
    answer = gateway.ask("POST", "/v1/moderations", {"input": "Hello"})
    assert answer.status == 200


class City(BaseModel):
    name: str
    people: int
    districts: list[str]
    mayor: City | None = None


def test_structured_answers_of_the_mock(client: openai.OpenAI):
    hello: Any = [{"role": "user", "content": "Hello"}]
    parsed = client.chat.completions.parse(model="mock", messages=hello, response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)
    with client.chat.completions.stream(model="mock", messages=hello, response_format=City) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)
    assert isinstance(
        client.responses.parse(model="mock", input="Hello", text_format=City).output_parsed, City
    )
    plain = client.chat.completions.create(
        model="mock", messages=hello, response_format={"type": "json_object"}
    )
    assert json.loads(plain.choices[0].message.content or "")


def test_tools_of_the_mock_are_called_with_arguments_that_fit(client: openai.OpenAI):
    """The library instructor asks for structured output in this way."""
    tool = openai.pydantic_function_tool(City)
    answer = client.chat.completions.create(
        model="mock",
        messages=[{"role": "user", "content": "Hello"}],
        tools=[openai.pydantic_function_tool(Hint), tool],
        tool_choice={"type": "function", "function": {"name": "City"}},
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "City"
    City.model_validate_json(call.function.arguments)


class Hint(BaseModel):
    text: str


def test_responses_of_the_mock_call_tools(client: openai.OpenAI):
    tools: Any = [{"type": "function", "name": "look", "parameters": City.model_json_schema()}]
    first = client.responses.create(model="mock", input="Hello", tools=tools)
    (call,) = first.output
    assert call.type == "function_call"
    City.model_validate_json(call.arguments)
    with client.responses.stream(model="mock", input="Hello", tools=tools) as stream:
        kinds = [event.type for event in stream]
        (again,) = stream.get_final_response().output
    assert again.type == "function_call"
    assert json.loads(again.arguments) == json.loads(call.arguments)
    assert "response.function_call_arguments.done" in kinds
    history: Any = [
        {"role": "user", "content": "Hello"},
        {"type": "function_call", "call_id": call.call_id, "name": "look", "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "seen"},
    ]
    assert client.responses.create(model="mock", input=history, tools=tools).output_text


def test_an_unsupported_feature_is_a_bad_request_error(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match="not offered here") as caught:
        client.files.list()
    assert caught.value.code == "not_offered"


def test_an_azure_client_gets_an_error_with_advice(gateway: Gateway):
    azure = openai.AzureOpenAI(api_key=KEY, api_version="2026-01-01", azure_endpoint=gateway.url)
    with pytest.raises(openai.BadRequestError, match="ends in /v1"):
        azure.chat.completions.create(model="mock", messages=[{"role": "user", "content": "Hello"}])


@pytest.mark.parametrize("base", ["", "/", "/v1/", "//v1", "/v1/v1", "/openai/v1"])
def test_other_spellings_of_the_base_url_work(gateway: Gateway, base: str):
    client = openai.OpenAI(base_url=gateway.url + base, api_key=KEY, max_retries=0)
    answer = client.chat.completions.create(model="mock", messages=[{"role": "user", "content": "Hello"}])
    assert answer.choices[0].message.content
    assert "mock" in [model.id for model in client.models.list()]


def test_the_upstreams_422_is_an_unprocessable_entity_error(client: openai.OpenAI):
    raised(client, openai.UnprocessableEntityError, "status,code=422")


def test_the_upstreams_429_is_a_rate_limit_error(client: openai.OpenAI, alias):
    error = raised(client, openai.RateLimitError, f"{alias()}/status,code=429,after=9")
    assert error.response.headers["retry-after"]


def test_the_gateways_429_is_a_rate_limit_error(strict: Gateway):
    with connect(strict, "key-limited3") as client:
        for _ in range(10):
            client.chat.completions.create(model="fast", messages=HELLO)
        error = raised(client, openai.RateLimitError, "fast")
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("status,code=500", 502, "upstream_error"),
        ("status,code=401", 502, "upstream_auth_failed"),
        ("dead/any", 502, "upstream_unreachable"),
        ("never", 504, "upstream_timeout"),
    ],
)
def test_a_failing_upstream_is_an_internal_server_error(client: openai.OpenAI, model, status, code):
    error = raised(client, openai.InternalServerError, model)
    assert (error.status_code, error.code) == (status, code)


def test_an_open_breaker_is_an_internal_server_error(strict: Gateway, alias):
    name = alias()
    with connect(strict, "key-free") as client:
        for _ in range(3):
            strict.chat(f"{name}/hang-up")
        error = raised(client, openai.InternalServerError, f"{name}/ok")
    assert (error.status_code, error.code) == (503, "upstream_unavailable")


@pytest.mark.parametrize("model", ["cut,after=2", "stall,after=2", "no-end"])
def test_a_stream_that_breaks_is_an_api_error(client: openai.OpenAI, model):
    with (
        client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert type(caught.value) is openai.APIError
    assert caught.value.code in ("upstream_stream_cut", "upstream_timeout")
    assert caught.value.body["type"] == "server_error"


def test_a_response_stream_that_breaks_is_an_api_error(client: openai.OpenAI):
    with (
        client.responses.create(model="cut,after=2", input="Hi", stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert caught.value.code == "upstream_stream_cut"


def test_the_response_has_failed_before_the_error_is_raised(client: openai.OpenAI):
    seen: list[Any] = []
    with client.responses.create(model="cut,after=2", input="Hi", stream=True) as stream:
        noted = (seen.append(event) for event in stream)
        with pytest.raises(openai.APIError) as caught:
            list(noted)
    assert caught.value.code == "upstream_stream_cut"
    assert [event.type for event in seen][-1] == "response.failed"
    assert seen[-1].response.error.code == "upstream_stream_cut"
    assert seen[-1].response.id == "resp_scripted"


# ---------------------------------------------------------------- with the client's own retries


def test_the_clients_own_retries_succeed(gateway: Gateway, upstream: Upstream):
    with connect(gateway, max_retries=openai.DEFAULT_MAX_RETRIES) as client:
        answer = client.chat.completions.create(model="once,code=500", messages=HELLO)
    assert answer.choices[0].message.content
    assert len(upstream.requests()) == 2


def test_the_client_waits_for_the_stated_pause(strict: Gateway, upstream: Upstream, alias):
    name = alias()
    for _ in range(3):
        strict.chat(f"{name}/status,code=500")
    with connect(strict, "key-free", max_retries=2) as client:
        answer = client.chat.completions.create(model=f"{name}/ok", messages=HELLO)
    assert answer.choices[0].message.content
    assert len(upstream.requests()) == 4
