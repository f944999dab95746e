"""The real LiteLLM in the sidecar, behind a gateway: what passes, is lost, and costs. `make clients`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kit.media_provider import MediaProvider, Received, play
from kit.process_memory import cpu_of, cpu_of_process
from kit.scripted_model import ScriptedModel, text
from kit.sdks import openai
from kit.servers import ROOT, Gateway
from kit.waiting import until

from flask_gateway.cli.selftest.scripted_provider import Exchange

pytestmark = [pytest.mark.live, pytest.mark.clients]

PYTHON = ROOT / ".venv-litellm" / "bin" / "python"
KEY, SECRET = "sk-litellm-0123456789abcdef", "sidecar-secret-0123456789"
#: How long its start may take, seconds: the import alone is five of CPU.
START = 180.0
CALLS = 200
SETTINGS = """
rate_limit_per_minute = 0
[keys.litellm]
key_env = "KEY_LITELLM"
[upstreams.litellm]
kind = "litellm"
url = "http+unix://{socket}/v1"
api_key_env = "LITELLM_SIDECAR_KEY"
[upstreams.straight]
url = "{straight}"
"""
_NAMES = {"gpt": "openai/gpt-real", "vectors": "openai/e", "busy": "openai/busy", "odd": "openai/odd"}
_NAMES |= {"claude": "anthropic/claude-real", "nobody": "no-such-provider/m"}
MODELS = "".join(
    f'[models.{name}]\nupstream = "litellm"\nmodel = "{real}"\n' for name, real in _NAMES.items()
)

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "x_usage": 1}
_HEAD = {"id": "chatcmpl-up1", "created": 1700000000, "model": "gpt-real", "x_top": 1}
_MESSAGE = {"role": "assistant", "content": "Hello", "refusal": None, "x_message": 1}
_CHOICE = {"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop", "x_choice": 2}
ANSWER = {**_HEAD, "object": "chat.completion", "choices": [_CHOICE], "usage": USAGE}
VECTORS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]}
ERRORS = {
    "busy": (429, {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}),
    "odd": (400, {"message": "No", "type": "invalid_request_error", "param": "top_p", "code": "unsupported"}),
}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def provider(exchange: Exchange, got: Received) -> None:
    """Answer as OpenAI would, with unknown fields."""
    if got.path.endswith("/embeddings"):
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        exchange.answer(200, json.dumps({**VECTORS, "model": "e", "usage": usage, "x_top": 1}).encode())
    elif got.model in ERRORS:
        status, error = ERRORS[got.model]
        exchange.answer(status, json.dumps({"error": error}).encode(), headers="retry-after: 7\r\n")
    elif got.json.get("stream"):
        usage = {**_chunk({}), "choices": [], "usage": USAGE}
        said = [
            _chunk({"role": "assistant", "content": "Hel"}),
            _chunk({"content": "lo"}),
            _chunk({}, "stop"),
        ]
        events = [f"data: {json.dumps(one)}\n\n".encode() for one in (*said, usage)]
        play(exchange, [*events, b"data: [DONE]\n\n"])
    else:
        exchange.answer(200, json.dumps(ANSWER).encode())


@pytest.fixture(scope="module")
def straight() -> Iterator[MediaProvider]:
    started = MediaProvider(provider)
    yield started
    started.close()


@pytest.fixture(scope="module")
def claude() -> Iterator[ScriptedModel]:
    started = ScriptedModel(lambda seen: [text("Hello from Claude")])
    yield started
    started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("litellm"))


def is_healthy(path: Path) -> bool:
    """Whether the sidecar answers: it does when the SDK has been imported."""
    with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
        sock.settimeout(START)
        sock.connect(str(path))
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b" 200 " in sock.recv(65536)
    return False


@pytest.fixture(scope="module")
def sidecar(straight: MediaProvider, claude: ScriptedModel, folder: Path) -> Iterator[int]:
    """The process id of the worker that serves LiteLLM."""
    assert PYTHON.exists(), f"{PYTHON} is not installed: `make clients` does that"
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    env |= {"LITELLM_SIDECAR_KEY": SECRET, "OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": straight.url}
    env |= {"ANTHROPIC_API_KEY": "sk-ant", "ANTHROPIC_API_BASE": claude.url.removesuffix("/v1")}
    command = [PYTHON, "-m", "flask_gateway", "litellm-sidecar", "--bind", f"unix:{folder}/s"]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=errors, stderr=errors)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        assert until(lambda: is_healthy(folder / "s"), START), (folder / "errors").read_text()
        yield int(children.read_text().split()[0])
    finally:
        process.terminate()
        process.wait(START)


@pytest.fixture(scope="module")
def gateway(sidecar: int, straight: MediaProvider, folder: Path) -> Iterator[Gateway]:
    file, place = folder / "gateway.toml", quote(f"{folder}/s", safe="")
    file.write_text(SETTINGS.replace("{socket}", place).replace("{straight}", straight.url) + MODELS)
    env = {"GATEWAY_CONFIG": str(file), "KEY_LITELLM": KEY, "LITELLM_SIDECAR_KEY": SECRET}
    gateway = Gateway(folder, KEY, {**env, "GATEWAY_WORKERS": "1"})
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=START) as made:
        yield made


MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def test_chat_a_stream_and_embeddings_pass(client: openai.OpenAI):
    answer = client.chat.completions.create(model="gpt", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello"
    assert answer.usage
    assert answer.usage.total_tokens == 5
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model="gpt", messages=MESSAGES, stream=True, stream_options=options)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello"
    assert chunks[-1].usage
    vectors = client.embeddings.create(model="vectors", input="Hi", encoding_format="float")
    assert vectors.data[0].embedding == [0.5, 0.25]


def test_another_api_is_translated_by_the_sdk(client: openai.OpenAI, claude: ScriptedModel):
    answer = client.chat.completions.create(model="claude", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello from Claude"
    stream = client.chat.completions.create(model="claude", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello from Claude"
    assert {path for path, _ in claude.asked} == {"messages"}


def test_errors_keep_status_code_and_wait(gateway: Gateway, client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as odd:
        client.chat.completions.create(model="odd", messages=MESSAGES)
    assert (odd.value.code, odd.value.param) == ("unsupported", "top_p")
    with pytest.raises(openai.RateLimitError) as busy:
        client.chat.completions.create(model="busy", messages=MESSAGES)
    assert 1 <= int(busy.value.response.headers["retry-after"]) <= 7
    with pytest.raises(openai.APIStatusError, match="Provider NOT provided"):
        client.chat.completions.create(model="nobody", messages=MESSAGES)


def missing(sent: Any, got: Any, path: str = "") -> set[str]:
    """The paths of the values that did not arrive."""
    if isinstance(sent, dict) and isinstance(got, dict):
        places = ((f"{path}.{name}".lstrip("."), value, got.get(name)) for name, value in sent.items())
        return {lost for place, value, there in places for lost in missing(value, there, place)}
    if isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        return {lost for one, other in zip(sent, got, strict=True) for lost in missing(one, other, path)}
    return set() if sent == got else {path}


def test_an_answer_loses_some_fields(gateway: Gateway):
    """As docs/litellm.md says."""
    whole = gateway.ask("POST", "/v1/chat/completions", {"model": "gpt", "messages": MESSAGES}).json
    assert missing(ANSWER, whole) == {"choices.message.x_message", "choices.x_choice"}
    assert whole["choices"][0]["provider_specific_fields"] == {"x_choice": 2}
    body = {"model": "gpt", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    stream = gateway.ask("POST", "/v1/chat/completions", body).body.split(b"\n\n")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in stream if event.startswith(b"data: {")]
    assert missing(_chunk({"content": "lo"}), chunks[1]) == {"created"}
    assert chunks[-1]["usage"].get("x_usage") is None
    vectors = gateway.ask("POST", "/v1/embeddings", {"model": "vectors", "input": "Hi"}).json
    assert "x_top" not in vectors


def test_a_call_costs_more_in_the_sdk_than_in_the_gateway(
    gateway: Gateway, sidecar: int, capsys: pytest.CaptureFixture[str]
):
    def cost(model: str, *, stream: bool) -> tuple[float, float]:
        before = cpu_of(gateway), cpu_of_process(sidecar)
        for _ in range(CALLS):
            assert gateway.chat(model, stream=stream).status == 200
        after = cpu_of(gateway), cpu_of_process(sidecar)
        return (after[0] - before[0]) / CALLS * 1e3, (after[1] - before[1]) / CALLS * 1e3

    for stream in (False, True):
        ours, theirs = cost("gpt", stream=stream)
        alone, _ = cost("straight/gpt-real", stream=stream)
        what = "a stream" if stream else "a whole answer"
        with capsys.disabled():
            print(f"\n{what}: gateway {ours:.2f} ms, SDK {theirs:.2f} ms of CPU; without it {alone:.2f} ms")
        assert theirs > ours
    pss = Path(f"/proc/{sidecar}/smaps_rollup").read_text().partition("Pss:")[2].split()[0]
    with capsys.disabled():
        print(f"memory of the sidecar's worker: {int(pss) / 1024:.0f} MiB")
