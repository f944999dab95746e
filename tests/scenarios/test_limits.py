"""Checks the rate limit over two workers: exact, stated on every response, and a refusal costs nothing."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.servers import Gateway, Upstream
from kit.wire import Answer, open_stream

pytestmark = pytest.mark.live

LIMIT = 10  # of the keys limited0, limited1, … of the strict gateway
DURATION = re.compile(r"\d+ms|(\d+m)?\d+(\.\d+)?s")
HELLO = [{"role": "user", "content": "Hello"}]


def remaining(headers: dict[str, str]) -> int:
    """The remaining calls by the headers. Asserts that all limit headers exist and are well formed."""
    assert headers["x-ratelimit-limit-requests"] == str(LIMIT)
    assert DURATION.fullmatch(headers["x-ratelimit-reset-requests"])
    return int(headers["x-ratelimit-remaining-requests"])


def test_a_burst_admits_exactly_the_limit(strict: Gateway, upstream: Upstream):
    def chat(_: int) -> Answer:
        return strict.chat("fast", headers={"x_api_key": "key-limited0"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(chat, range(3 * LIMIT)))
    assert sorted(answer.status for answer in answers) == [200] * LIMIT + [429] * 2 * LIMIT
    assert len(upstream.requests()) == LIMIT
    admitted = [remaining(answer.headers) for answer in answers if answer.status == 200]
    assert sorted(admitted) == list(range(LIMIT))
    for answer in answers:
        if answer.status == 429:
            refused(answer)


def refused(answer: Answer) -> None:
    """Assert that the refusal looks like a 429 of the OpenAI API."""
    error = answer.error
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
    assert remaining(answer.headers) == 0
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert 50_000 <= int(answer.headers["retry-after-ms"]) <= 60_000
    assert answer.headers["x-gateway-error-origin"] == "gateway"


def test_every_response_states_the_remaining_calls_and_refusals_cost_nothing(strict: Gateway):
    key = {"x_api_key": "key-limited1"}
    unsaid = {"model": "fast", "messages": HELLO}
    assert remaining(strict.ask("GET", "/v1/models", **key).headers) == LIMIT
    assert remaining(strict.ask("POST", "/v1/chat/completions", unsaid, **key).headers) == LIMIT - 1
    with open_stream(strict.port, "key-limited1", "fast") as stream:
        assert remaining(stream.headers) == LIMIT - 2
        stream.data()
    assert remaining(strict.ask("POST", "/v1/chat/completions", b"{", **key).headers) == LIMIT - 2
    assert remaining(strict.ask("GET", "/v1/nothing", **key).headers) == LIMIT - 2
    assert remaining(strict.ask("GET", "/v1/chat/completions", **key).headers) == LIMIT - 2
    refusal = strict.chat("status,code=404", headers=key)
    assert (refusal.status, remaining(refusal.headers)) == (404, LIMIT - 3)
    assert remaining(strict.ask("GET", "/v1/circuit-breakers", **key).headers) == LIMIT - 3


def test_a_failure_of_the_upstream_has_the_limit_headers_too(strict: Gateway, alias):
    answer = strict.chat(f"{alias()}/hang-up", headers={"x_api_key": "key-limited2"})
    assert (answer.status, remaining(answer.headers)) == (502, LIMIT - 1)


def test_a_key_without_a_limit_is_never_refused(strict: Gateway):
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status for answer in pool.map(strict.chat, ["fast"] * 40)} == {200}


def test_a_refused_key_gets_no_limit_headers(strict: Gateway):
    answer = strict.ask("GET", "/v1/models", x_api_key="wrong")
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
