"""Runs the official ``openai`` client's Responses calls on a live gateway whose upstream takes only chat."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.sdks import openai
from kit.servers import Gateway, Upstream
from kit.waiting import until

pytestmark = pytest.mark.live

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}
#: The text of the scripted upstream.
TEXT = "tok0 tok1 tok2 "


@pytest.fixture(scope="module")
def chat_only(
    start_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    config: Path = tmp_path_factory.mktemp("chat") / "gateway.toml"
    config.write_text(
        f'default_upstream = "chat"\ncircuit_breaker_max_failures = 1000\n'
        f'[keys.team]\nsha256 = "{sha256(KEY.encode()).hexdigest()}"\n'
        f'[upstreams.chat]\nurl = "{scripted.url}"\nspeaks = ["chat/completions"]\n'
        f'[models.held]\nupstream = "chat"\nmodel = "cut,after=2"\nstream = "whole"\n'
    )
    return start_gateway(GATEWAY_CONFIG=str(config), GATEWAY_WORKERS="1")


@pytest.fixture
def client(chat_only: Gateway, upstream: Upstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{chat_only.url}/v1", api_key=KEY, max_retries=0, timeout=15) as client:
        yield client


def test_text(client: openai.OpenAI, upstream: Upstream):
    answer = client.responses.create(model="ok", input="Hi")
    assert (answer.output_text, answer.status) == (TEXT, "completed")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert upstream.last()["path"] == "/v1/chat/completions"
    with client.responses.stream(model="ok", input="Hi") as stream:
        final = stream.get_final_response()
    assert (final.output_text, final.usage) == (TEXT, answer.usage)


def test_every_cut_of_the_bytes_gives_the_same(client: openai.OpenAI):
    with client.responses.stream(model="drip", input="Hi") as stream:
        assert stream.get_final_response().output_text == TEXT


def test_tools(client: openai.OpenAI):
    whole = client.responses.create(model="tools", input="Hi", tools=[WEATHER])
    with client.responses.stream(model="tools", input="Hi", tools=[WEATHER]) as stream:
        streamed = stream.get_final_response()
    for answer in (whole, streamed):
        (call,) = answer.output
        assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city":"Oslo"}')
        assert call.call_id == "call_1"


def test_events_arrive_while_the_model_writes_and_a_caller_may_leave(
    client: openai.OpenAI, upstream: Upstream
):
    with client.responses.create(model="stall,after=2", input="Hi", stream=True) as stream:
        deltas = (event.delta for event in stream if event.type == "response.output_text.delta")
        assert [next(deltas), next(deltas)] == ["tok0 ", "tok1 "]
        assert upstream.last()["ended"] is None
    assert until(lambda: upstream.last()["ended"]) == "peer left"


def test_a_cut_raises_behind_the_text(client: openai.OpenAI):
    deltas: list[str] = []
    stream = client.responses.create(model="cut,after=2", input="Hi", stream=True)
    with stream, pytest.raises(openai.APIError, match="broke off"):
        deltas.extend(event.delta for event in stream if event.type == "response.output_text.delta")
    assert "".join(deltas) == "tok0 tok1 "
    with pytest.raises(openai.APIError):
        client.responses.create(model="held", input="Hi", stream=True)


def test_a_refused_field_is_a_bad_request(client: openai.OpenAI, upstream: Upstream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="ok", input="Hi", background=False, store=True)
    assert (caught.value.code, caught.value.param) == ("unsupported_field", "store")
    assert upstream.requests() == []


def test_a_refusal_by_the_upstream(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="status,code=400,kind=context_length_exceeded", input="Hi", stream=True)
    assert caught.value.code == "context_length_exceeded"
