"""Tests the spans of finished requests: ids, times, attributes, and usage that stands on one of them."""

from __future__ import annotations

from kit.records import BEGAN, FIRST, SECOND, TRACE, attempt, call_record, ids

from flask_gateway.model.call import Usage
from flask_gateway.tracing import genai
from flask_gateway.tracing.spans import TracePlace, spans_of

PLACES = {"one": TracePlace("openai", "one.test", 443), "two": TracePlace("two", "two.test", 0)}
FAILED_OVER = (attempt("one", "503", 0.25, 0.25, "gpt"), attempt("two", "200", 0.5, 0.5, "llama"))


def test_a_stream_that_failed_over_has_a_span_per_attempt_and_usage_once() -> None:
    record = call_record(attempts=FAILED_OVER, stream=True, upstream="two", upstream_model="llama-8b")
    request, first, second = spans_of(record, PLACES)
    assert (request.name, first.name, second.name) == ("POST /v1/chat/completions", "chat gpt", "chat llama")
    assert (request.server, first.server, second.server) == (True, False, False)
    assert (request.failed, first.failed, second.failed) == (False, True, False)
    assert first.attributes[genai.ERROR] == "503"
    assert second.attributes[genai.RESPONSE_MODEL] == "llama-8b"
    assert second.attributes[genai.FIRST_CHUNK] == 0.5
    with_usage = [span for span in (request, first, second) if genai.INPUT_TOKENS in span.attributes]
    assert with_usage == [second]
    assert (second.attributes[genai.INPUT_TOKENS], second.attributes[genai.OUTPUT_TOKENS]) == (3, 5)


def test_the_ids_are_those_that_the_upstreams_got() -> None:
    record = call_record(ids=ids(parent="b7ad6b7169203331", flags="01"), attempts=FAILED_OVER)
    request, *attempts = spans_of(record, PLACES)
    assert request.parent == "b7ad6b7169203331"
    assert {span.trace for span in (request, *attempts)} == {TRACE}
    for number, span in enumerate(attempts):
        assert span.parent == request.span
        assert record.ids.traceparent_of(number)[36:52] == span.span
    assert attempts[0].span == FIRST


def test_the_children_lie_inside_and_the_last_ends_with_the_stream() -> None:
    request, first, second = spans_of(call_record(attempts=FAILED_OVER, stream=True), PLACES)
    assert (request.started, request.ended) == (BEGAN, BEGAN + 2 * SECOND)
    assert (first.started, first.ended) == (BEGAN + SECOND // 4, BEGAN + SECOND // 2)
    assert (second.started, second.ended) == (BEGAN + SECOND // 2, request.ended)


def test_a_clock_that_does_not_fit_moves_no_child_outside() -> None:
    odd = (attempt("one", "500", -5.0, 1.0), attempt("two", "200", 9.0, 1.0))
    request, *attempts = spans_of(call_record(attempts=odd), PLACES)
    for span in attempts:
        assert request.started <= span.started <= span.ended <= request.ended or span.ended < request.started


def test_a_stream_that_another_upstream_continued_has_usage_on_the_last() -> None:
    attempts = (attempt("one", "200", 0.0, 0.5), attempt("two", "200", 1.0, 0.5))
    _, first, second = spans_of(call_record(attempts=attempts, stream=True), PLACES)
    assert first.ended == second.started == BEGAN + SECOND
    assert genai.INPUT_TOKENS not in first.attributes
    assert genai.INPUT_TOKENS in second.attributes


def test_a_stream_that_broke_is_an_error_of_its_attempt() -> None:
    request, one = spans_of(call_record(code="upstream_cut", outcome="failure"), PLACES)
    assert (request.failed, one.failed) == (True, True)
    assert request.attributes[genai.ERROR] == one.attributes[genai.ERROR] == "upstream_cut"


def test_a_refused_call_is_one_span_and_no_failure_of_the_server() -> None:
    (request,) = spans_of(call_record(status=429, code="rate_limit_exceeded", attempts=()), PLACES)
    assert not request.failed
    assert request.attributes[genai.ERROR] == "rate_limit_exceeded"
    assert request.attributes[genai.USER] == "team-a"


def test_a_request_that_is_no_call_has_a_span() -> None:
    plain = call_record(method=None, route=None, path=None, outcome=None, attempts=(), usage=None)
    (request,) = spans_of(plain, PLACES)
    assert request.name == "request"


def test_the_attributes_of_an_attempt_say_where_it_went() -> None:
    record = call_record(
        usage=Usage(10, 5, 4, "estimated", {"write": 2, "reasoning": 3}),
        traced={"gen_ai.response.id": "chatcmpl-1", "gateway.cache": "miss"},
    )
    request, one = spans_of(record, PLACES)
    assert request.attributes["gateway.cache"] == "miss"
    assert "gen_ai.response.id" not in request.attributes
    expected = {
        genai.PROVIDER: "openai",
        genai.SERVER: "one.test",
        genai.PORT: 443,
        genai.OPERATION: "chat",
        genai.RESPONSE_ID: "chatcmpl-1",
        genai.CACHE_READ: 4,
        genai.CACHE_CREATION: 2,
        genai.REASONING: 3,
        "gateway.usage_source": "estimated",
        "gateway.upstream": "one",
        "gateway.attempt": 1,
    }
    assert expected.items() <= one.attributes.items()


def test_an_upstream_that_a_reload_removed_keeps_its_name() -> None:
    _, one = spans_of(call_record(), {})
    assert one.attributes[genai.PROVIDER] == "one"
    assert genai.SERVER not in one.attributes
