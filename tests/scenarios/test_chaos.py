"""Calls an upstream that fails at random (``llmock``), with a healthy fallback behind it.

Of 100 calls of the official client at least 99 must return a complete answer: over 900 calls, for which the
luck of the faults matters less. No partial answer may look complete, and every failure must be one of the
client's own errors.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.sdks import openai
from kit.servers import ROOT
from kit.stores import free_port
from kit.waiting import until
from kit.wire import ask

pytestmark = [pytest.mark.live, pytest.mark.attack]

CALLS, AT_ONCE = 900, 8
#: 10 % each of 500, 503, cut, truncated and malformed streams, 15 % 429, 5 % stalls.
FAULTS = (
    *("--error-rate", "500=0.1", "--error-rate", "503=0.1", "--error-rate", "429=0.15"),
    *("--stream-fault", "disconnect=0.1", "--stream-fault", "truncate=0.1"),
    *("--stream-fault", "malformed=0.1", "--stream-fault", "stall=0.05", "--stream-stall-seconds", "3"),
)
MOCK_SAYS = 'Mock answer from mock: you said "Say something"'
CHAOS_SAYS = "Hello! LLMock handled this request for chaos."
PROMPT = [{"role": "user", "content": "Say something"}]


@pytest.fixture(scope="module")
def chaos() -> Iterator[str]:
    """The URL of an llmock with those faults."""
    port = free_port()
    command = [str(ROOT / ".venv-attack/bin/llmock"), "serve", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen([*command, *FAULTS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: _answers(port)), "llmock does not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/health").status > 0
    except OSError:
        return False


@pytest.mark.parametrize("patient", [False, True], ids=["breaker", "no breaker"])
def test_calls_before_a_healthy_fallback(start_gateway: StartGateway, chaos: str, patient: bool):
    """With the default breaker, and with one that never opens."""
    gateway = start_gateway(
        GATEWAY_UPSTREAMS=f"chaos={chaos};mock=mock://local",
        GATEWAY_FALLBACKS="chaos=mock",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="1",
        **({"GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES": UNLIMITED} if patient else {}),
    )
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        said = Counter(pool.map(lambda number: _answer(client, number % 2 == 0), range(CALLS)))
    whole = said[CHAOS_SAYS] + said[MOCK_SAYS]
    errors = sum(count for text, count in said.items() if text.startswith("error: "))
    assert whole + errors == CALLS, f"a part of an answer looked whole: {said}"
    assert whole >= 0.99 * CALLS, said


def _answer(client: openai.OpenAI, stream: bool) -> str:
    """The text of one answer, or the name of the client's own error."""
    try:
        if not stream:
            whole = client.chat.completions.create(model="chaos", messages=PROMPT)
            return whole.choices[0].message.content
        with client.chat.completions.create(model="chaos", messages=PROMPT, stream=True) as events:
            chunks = list(events)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    except openai.APIError as error:
        return f"error: {type(error).__name__}"
