"""Plays the golden cases of every translation, byte by byte, however the answer arrives."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from kit import golden
from kit.examples import examples

from flask_gateway.dialects.translations.chat_to_messages import CHAT_TO_MESSAGES
from flask_gateway.dialects.translations.messages_to_chat import MESSAGES_TO_CHAT
from flask_gateway.dialects.translations.translation import Translation
from flask_gateway.model.errors import GatewayError

#: The translations by the folder of their cases.
PAIRS: dict[str, Translation] = {
    "messages-to-chat": MESSAGES_TO_CHAT,
    "chat-to-messages": CHAT_TO_MESSAGES,
}
CASES = {
    f"{pair}/{name}": (translation, case)
    for pair, translation in PAIRS.items()
    for name, case in golden.cases(pair).items()
}
#: An answer to a case that is about its request alone.
NOTHING = {"choices": [], "content": [], "output": [], "id": "1", "status": "completed"}
#: The random splits of all streams together.
SPLITS = examples(300, 10_000)


def of(what: str) -> list[str]:
    return [name for name, (_, case) in CASES.items() if what in case]


STREAMED = [name for name in of("answered") if isinstance(CASES[name][1]["answered"], list)]


@pytest.mark.parametrize("name", of("sent"))
def test_a_request_is_sent_as_written_down(name: str) -> None:
    translation, case = CASES[name]
    upstream, reply = golden.replied(case, translation, [msgspec.json.encode(NOTHING)])
    assert upstream.calls[0].operation is translation.spoken
    expected = json.dumps(case["sent"], ensure_ascii=False, separators=(",", ":")).encode()
    assert normal(upstream.calls[0].payload()) == normal(expected)
    assert reply.headers.get("x-gateway-left-out") == case.get("left_out")


def normal(body: bytes) -> Any:
    """Fields in any order; the texts of arguments as they are."""
    return json.loads(body)


@pytest.mark.parametrize("name", of("refused"))
def test_fields_without_a_place_are_refused_by_name(name: str) -> None:
    translation, case = CASES[name]
    with pytest.raises(GatewayError) as caught:
        golden.replied(case, translation, [msgspec.json.encode(NOTHING)])
    assert {"code": caught.value.code, "param": caught.value.param} == case["refused"]
    assert caught.value.status == 400
    if case["refused"]["code"] == "unsupported_field":
        assert caught.value.upstream == "up"
        assert "'up'" in caught.value.message


def expected(case: golden.Case) -> bytes:
    answer = case["given"]
    if isinstance(answer, list):
        return "\n".join(answer).encode()
    return answer.encode() if isinstance(answer, str) else msgspec.json.encode(answer)


@pytest.mark.parametrize("name", of("answered"))
def test_an_answer_is_given_as_written_down(name: str) -> None:
    translation, case = CASES[name]
    _, reply = golden.replied(case, translation, [golden.answered(case)])
    assert golden.given(reply) == expected(case)


def test_an_answer_is_the_same_however_it_is_cut() -> None:
    chance = random.Random(19)
    # An answer that is broken before its first content in one read is cut behind it in several.
    names = [name for name in STREAMED if CASES[name][1]["given"][0].startswith(("event", "data"))]
    for number in range(SPLITS):
        translation, case = CASES[names[number % len(names)]]
        data = golden.answered(case)
        cuts = [chance.randrange(len(data)) for _ in range(chance.randrange(1, 12))]
        _, reply = golden.replied(case, translation, golden.pieces(data, cuts))
        assert golden.given(reply) == expected(case), (names[number % len(names)], cuts)
