"""Puts odd values at every place of the golden requests: a translation refuses them, and never fails."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from kit import golden
from kit.calls import make_call
from kit.examples import examples
from kit.response_cases import cases

from flask_gateway.dialects.translations.table import TRANSLATIONS
from flask_gateway.dialects.translations.translation import Translation
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import GatewayError
from flask_gateway.model.quirks import Quirks, TranslationTarget, Unsupported

ODD = (None, True, 1, -1.5, "", "x", [], {}, [1], [[]], ["x"], {"type": "x"}, {"type": 1}, [{}], {"": None})
#: The requests of a run, for each translation.
REQUESTS = examples(1_000, 40_000)
FOLDERS = {Operation.MESSAGE: "messages-to-chat", Operation.CHAT: "chat-to-messages"}
#: The web layer lets no request without its required fields through.
KEPT = {("messages",), ("input",), ("model",), ("stream",)}
QUIRKS = (
    Quirks(),
    Quirks(unsupported=Unsupported.DROP, documents=False, short_tool_ids=True, tool_parts=True),
    Quirks(thought_signatures=True, reasoning_field="reasoning", top_k=True),
)


def bodies(operation: Operation) -> list[Any]:
    if operation is Operation.RESPONSE:
        return [case.asked for case in cases()]
    return [json.loads(golden.asked(case)) for case in golden.cases(FOLDERS[operation]).values()]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*path, name)
        yield from places(one, (*path, name))


def changed(body: Any, path: tuple[Any, ...], chance: random.Random) -> Any:
    """The body with an odd value at a place, or without the value there."""
    made = holder = copy.deepcopy(body)
    for name in path[:-1]:
        holder = holder[name]
    if isinstance(holder, dict) and chance.random() < 0.2:
        del holder[path[-1]]
    else:
        holder[path[-1]] = chance.choice(ODD)
    return made


def call_of(body: Any, operation: Operation) -> Call:
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    return msgspec.structs.replace(make_call("m", stream=True), operation=operation, fields=fields)


@pytest.mark.parametrize("translation", TRANSLATIONS, ids=lambda one: f"{one.asked}>{one.spoken}")
def test_no_request_is_an_internal_error(translation: Translation) -> None:
    chance = random.Random(61)
    bodies_there = [(body, sorted(set(places(body)) - KEPT, key=repr)) for body in bodies(translation.asked)]
    known = [(body, at) for body, at in bodies_there if at]
    for _ in range(REQUESTS):
        body, at = chance.choice(known)
        odd = changed(body, chance.choice(at), chance)
        call = call_of(odd, translation.asked)
        try:
            translation.request(call, TranslationTarget("up", chance.choice(QUIRKS)))
        except Exception as error:
            assert_named(error, odd)


def assert_named(error: Exception, asked: Any) -> None:
    """It is a refusal of the caller's request that names a field."""
    if not isinstance(error, GatewayError):
        raise AssertionError(json.dumps(asked)) from error
    assert (error.status, bool(error.param)) == (400, True), asked
