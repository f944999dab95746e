"""Tests the mock's embeddings, moderations and rankings."""

from __future__ import annotations

import base64
import struct

import pytest
from kit.mock_calls import answer

from flask_gateway.model.call import Operation


def test_embeddings_are_unit_vectors_that_depend_on_the_text_only():
    said, usage = answer(Operation.EMBEDDING, input=["one", "two", "one"])
    vectors = [item["embedding"] for item in said["data"]]
    assert [len(vector) for vector in vectors] == [8, 8, 8]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    assert vectors[0] == vectors[2] != vectors[1]
    assert usage.prompt_tokens == 3


def test_embeddings_in_base64_hold_the_same_numbers():
    plain, _ = answer(Operation.EMBEDDING, input="one", dimensions=3)
    packed, _ = answer(Operation.EMBEDDING, input="one", dimensions=3, encoding_format="base64")
    numbers = struct.unpack("<3f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(numbers) == pytest.approx(plain["data"][0]["embedding"])


@pytest.mark.parametrize(("value", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2), ("x", 1), ([], 1)])
def test_embeddings_of_token_lists(value, count):
    said, _ = answer(Operation.EMBEDDING, input=value)
    assert len(said["data"]) == count


def test_moderations_flag_nothing():
    said, _ = answer(Operation.MODERATION, input=["a", "b"])
    assert [result["flagged"] for result in said["results"]] == [False, False]


def test_rerank_puts_the_best_match_first():
    documents = ["cats and dogs", "paris is a city", {"text": "the city of lights"}]
    said, _ = answer(Operation.RERANK, query="city lights", documents=documents, top_n=2)
    assert [result["index"] for result in said["results"]] == [2, 1]
    assert said["results"][0]["relevance_score"] == 1.0
    assert "document" not in said["results"][0]
