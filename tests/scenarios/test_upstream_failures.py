"""Tests upstreams that fail before the first byte: whose fault it is, and the error that the caller gets."""

from __future__ import annotations

import pytest
from kit.gateways import KEY
from kit.servers import Gateway, Upstream
from kit.wire import Answer, open_stream

pytestmark = pytest.mark.live

#: behaviour, status, code
BOTH_WAYS = [
    ("status,code=500", 502, "upstream_error"),
    ("status,code=502", 502, "upstream_error"),
    ("status,code=503", 502, "upstream_error"),
    ("status,code=529", 502, "upstream_overloaded"),
    ("status,code=408", 504, "upstream_timeout"),
    ("status,code=401", 502, "upstream_auth_failed"),
    ("status,code=403", 502, "upstream_auth_failed"),
    ("status,code=501", 502, "upstream_misconfigured"),
    ("redirect", 502, "upstream_misconfigured"),
    ("nothing", 502, "upstream_misconfigured"),
    ("html", 502, "upstream_misconfigured"),
    ("html,code=502", 502, "upstream_error"),
    ("hang-up", 502, "upstream_unreachable"),
    ("hang-up,how=reset", 502, "upstream_unreachable"),
    ("never", 504, "upstream_timeout"),
    ("head-only", 504, "upstream_timeout"),
    ("cut,after=-1,how=reset", 502, "upstream_stream_cut"),
]
WHOLE = [
    ("broken-json", 502, "upstream_malformed"),
    ("error-200", 502, "upstream_error"),
    ("cut,framing=length", 502, "upstream_stream_cut"),
    ("cut,framing=chunked", 502, "upstream_stream_cut"),
    ("cut,framing=close", 502, "upstream_malformed"),
    ("cut,how=reset,framing=chunked", 502, "upstream_stream_cut"),
    ("stall", 504, "upstream_timeout"),
]
STREAMED = [
    ("error-first", 502, "upstream_overloaded"),
    ("stall,after=0", 504, "upstream_timeout"),
    ("cut,after=0", 502, "upstream_stream_cut"),
    ("cut,after=0,framing=close", 502, "upstream_stream_cut"),
    ("no-end,tokens=0", 502, "upstream_stream_cut"),
    ("broken-json", 502, "upstream_malformed"),
]


def streamed(gateway: Gateway, model: str) -> Answer:
    with open_stream(gateway.port, KEY, model) as stream:
        return Answer(stream.status, stream.headers, stream._response.read())


@pytest.mark.parametrize(("behaviour", "status", "code"), BOTH_WAYS + WHOLE)
def test_a_failure_of_a_buffered_answer(gateway: Gateway, behaviour, status, code):
    blamed(gateway.chat(behaviour), status, code)


@pytest.mark.parametrize(("behaviour", "status", "code"), BOTH_WAYS + STREAMED)
def test_a_failure_before_a_stream_begins_is_an_error_response(gateway: Gateway, behaviour, status, code):
    blamed(streamed(gateway, behaviour), status, code)


def blamed(answer: Answer, status: int, code: str) -> None:
    """Assert that the error names the upstream as the origin and repeats none of its words."""
    error = answer.error
    assert (answer.status, error["code"], error["type"]) == (status, code, "server_error"), answer
    assert answer.headers["x-gateway-error-origin"] == "upstream"
    assert answer.headers["x-gateway-upstream"] == "scripted"
    assert answer.headers["x-request-id"]
    text = answer.body.decode()
    assert not any(leak in text for leak in ("10.0.0.7", "127.0.0.1", "nginx", "Scripted", "Traceback"))


def test_an_unreachable_upstream_is_a_502(gateway: Gateway):
    answer = gateway.chat("dead/any")
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert answer.headers["x-gateway-upstream"] == "dead"


def test_a_redirect_is_not_followed(gateway: Gateway, upstream: Upstream):
    gateway.chat("redirect")
    assert [entry["path"] for entry in upstream.requests()] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    "behaviour", ["status,code=502", "status,code=503", "never", "cut", "status,code=400"]
)
def test_a_failed_call_is_not_sent_again(gateway: Gateway, upstream: Upstream, behaviour):
    gateway.chat(behaviour)
    assert len(upstream.requests()) == 1


def test_a_500_is_retried_once_without_the_caller_noticing(gateway: Gateway, upstream: Upstream):
    answer = gateway.chat("once,code=500")
    assert (answer.status, len(upstream.requests())) == (200, 2)
    assert answer.headers["x-gateway-retries"] == "1"
    assert answer.headers["x-gateway-attempts"].startswith("scripted:500:")
    upstream.reset()
    answer = gateway.chat("status,code=500")
    assert (answer.status, len(upstream.requests())) == (502, 2)
    assert answer.headers["x-should-retry"] == "false"


# ---------------------------------------------------------------- the upstream's own refusals


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "context_length_exceeded"),
        (400, "content_policy_violation"),
        (404, "model_not_found"),
        (409, "conflict"),
        (413, "too_large"),
        (422, "unprocessable"),
    ],
)
@pytest.mark.parametrize("ask", [Gateway.chat, streamed])
def test_a_refusal_of_the_request_comes_back_unchanged(gateway: Gateway, ask, status, kind):
    answer = ask(gateway, f"status,code={status},kind={kind},param=messages")
    assert answer.status == status
    assert answer.error == {
        "message": f"Scripted {status}.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": kind,
    }
    assert answer.headers["x-gateway-error-origin"] == "upstream"
    assert answer.headers["x-gateway-upstream"] == "scripted"


def test_a_refusal_in_html_comes_back_in_the_envelope(gateway: Gateway):
    answer = gateway.chat("html,code=404")
    assert (answer.status, answer.error["code"]) == (502, "upstream_misconfigured")
    assert "check" in answer.error["message"]
    assert "nginx" not in answer.error["message"]


@pytest.mark.parametrize(
    ("told", "seconds", "millis"),
    [(",after=7", "7", "7000"), (",after_ms=1500", "2", "1500"), ("", None, None)],
)
def test_a_429_keeps_its_pause(gateway: Gateway, alias, told, seconds, millis):
    answer = gateway.chat(f"{alias()}/status,code=429{told}")
    assert (answer.status, answer.error["code"]) == (429, "scripted_429")
    assert answer.headers.get("retry-after") == seconds
    assert answer.headers.get("retry-after-ms") == millis
    assert answer.headers["x-gateway-error-origin"] == "upstream"


def test_all_workers_keep_the_pause_without_another_call(gateway: Gateway, upstream: Upstream, alias):
    name = alias()
    paused = f"{name}/status,code=429,after=30"
    gateway.chat(paused)
    for _ in range(8):
        answer = gateway.chat(paused)
        assert (answer.status, answer.error["code"]) == (429, "upstream_rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 36
        assert answer.headers["x-gateway-error-origin"] == "gateway"
        assert answer.headers["x-gateway-upstream"] == name
    assert len(upstream.requests()) == 1


def test_a_compressed_answer_is_unpacked(gateway: Gateway):
    assert gateway.chat("gzip").json["choices"][0]["message"]["content"] == "tok0 tok1 tok2 "
    with open_stream(gateway.port, KEY, "gzip") as stream:
        assert stream.status == 200
        body = stream._response.read()
    assert b"tok2" in body
    assert body.endswith(b"data: [DONE]\n\n")
