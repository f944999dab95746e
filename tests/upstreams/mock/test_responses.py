"""Tests the mock's answers in the Responses API."""

from __future__ import annotations

from kit.mock_calls import answer, events

from flask_gateway.model.call import Operation


def test_responses():
    said, usage = answer(Operation.RESPONSE, input="Hi")
    assert said["status"] == "completed"
    assert said["output"][0]["content"][0]["text"] == 'Mock answer from mock: you said "Hi"'
    assert (usage.prompt_tokens, usage.completion_tokens) == (1, 7)


def test_responses_stream_typed_events():
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    sent, usage = events(Operation.RESPONSE, input=parts)
    kinds = [event["type"] for event in sent]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    text = "".join(event["delta"] for event in sent if event["type"] == "response.output_text.delta")
    assert text == sent[-1]["response"]["output"][0]["content"][0]["text"]
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    assert usage.completion_tokens == 7


def test_a_shortened_response_is_incomplete():
    sent, _ = events(Operation.RESPONSE, input="Hi", max_output_tokens=2)
    assert sent[-1]["type"] == "response.incomplete"
    assert sent[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
