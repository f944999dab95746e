"""Tests that inspected answers do not depend on how they were cut, in every API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.plugins import BAD, WORD, Masking

from flask_gateway.model.call import Operation
from flask_gateway.model.errors import Blocked
from flask_gateway.testing import OPERATIONS, inspect, loaded
from flask_gateway.testing.answers import Pieces

#: Texts in which words that are masked are likely, and likely to be cut.
WORDS = ("AAAAA", "ABCDE", "AB", "D", "x", " ", "é", '"', "\\", "\n")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map("".join)
KINDS = ("content", "reasoning", "arguments")


def masked(text: str) -> str:
    return WORD.sub("[x]", text)


@st.composite
def in_pieces(draw: Callable[..., Any], text: str) -> list[str]:
    places = draw(st.lists(st.integers(0, len(text)), max_size=6))
    ends = [0, *sorted(places), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends) if begin < end]


@st.composite
def answers(draw: Callable[..., Any]) -> list[tuple[str, list[str]]]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    return [(kind, draw(in_pieces(_said(kind, draw(TEXTS))))) for kind in kinds]


def _said(kind: str, text: str) -> str:
    return json.dumps({"note": text}, ensure_ascii=False) if kind == "arguments" else text


@st.composite
def cuts(draw: Callable[..., Any]) -> Callable[[bytes], Iterable[bytes]]:
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=8))

    def cut(data: bytes) -> Iterable[bytes]:
        place = turn = 0
        while place < len(data):
            yield data[place : place + sizes[turn % len(sizes)]]
            place, turn = place + sizes[turn % len(sizes)], turn + 1

    return cut


def expected(operation: Operation, pieces: Pieces) -> dict[tuple[int, str], str]:
    texts = {(index, kind): masked("".join(parts)) for index, (kind, parts) in enumerate(pieces)}
    if operation is Operation.COMPLETION:  # it has content alone
        texts = {(index, "content"): text for (index, _), text in texts.items()}
    return {place: text for place, text in texts.items() if text}


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=40)
@given(pieces=answers(), cut=cuts())
def test_whatever_the_cuts_the_output_is_the_masked_whole(
    operation: Operation, pieces: Pieces, cut: Callable[[bytes], Iterable[bytes]]
) -> None:
    heard = inspect([loaded(Masking)], operation, pieces, cut=cut)
    assert heard == expected(operation, pieces)


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=20)
@given(pieces=answers())
def test_a_whole_answer_is_masked_as_a_stream_is(operation: Operation, pieces: Pieces) -> None:
    heard = inspect([loaded(Masking)], operation, pieces, stream=False)
    normal = {place: _normal(place, text) for place, text in heard.items() if text}
    wanted = expected(operation, pieces)
    assert normal == {place: _normal(place, text) for place, text in wanted.items()}


def _normal(place: tuple[int, str], text: str) -> Any:
    return json.loads(text) if place[1] == "arguments" else text


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=20)
@given(pieces=answers())
def test_several_inspections_and_those_that_wait(operation: Operation, pieces: Pieces) -> None:
    chain = [loaded(partial(Masking, whole=True), "a"), loaded(Masking, "b")]
    assert inspect(chain, operation, pieces) == expected(operation, pieces)
    assert inspect(list(reversed(chain)), operation, pieces) == expected(operation, pieces)


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=20)
@given(cut=cuts(), parts=in_pieces(f"One AAAAA, and this is {BAD} to say."))
def test_a_block_is_found_whatever_the_cuts(
    operation: Operation, cut: Callable[[bytes], Iterable[bytes]], parts: list[str]
) -> None:
    with pytest.raises(Blocked):
        inspect([loaded(Masking)], operation, [("content", parts)], cut=cut)
