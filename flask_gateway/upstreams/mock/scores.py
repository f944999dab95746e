"""Computes a mock's embeddings, moderations and rankings, deterministically."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from itertools import cycle, islice
from math import sqrt
from typing import Any

import msgspec

from ...model.call import Call
from .chat import MAX_READ, Frame, texts, tokens_of

DIMENSIONS = 8
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048
CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def embedding(call: Call, key: str) -> Iterator[Frame]:
    """Return one unit vector per input, made from its digest; in base64 when requested, as SDKs do."""
    dimensions = _integer(call, "dimensions", DIMENSIONS, MAX_DIMENSIONS)
    packed = call.decoded("encoding_format", MAX_READ) == "base64"
    inputs = _inputs(call.decoded("input", MAX_READ))
    data = [
        {"object": "embedding", "index": index, "embedding": _written(_vector(text, dimensions), packed)}
        for index, text in enumerate(inputs)
    ]
    answer = {"object": "list", "data": data, "model": call.model, "usage": _usage(_tokens(call, "input"))}
    yield Frame(msgspec.json.encode(answer))


def _inputs(value: Any) -> list[str]:
    """Return the inputs as strings. A list of token ids is one input, a list of such lists is several."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return [_as_text(item) for item in value[:MAX_INPUTS]]
    return [_as_text(value)]


def _as_text(value: Any) -> str:
    numbers = [item for item in value if isinstance(item, int)] if isinstance(value, list) else []
    return " ".join(map(repr, numbers)) or " ".join(texts(value))


def _vector(text: str, dimensions: int) -> list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    raw = [byte - 127.5 for byte in islice(cycle(digest), dimensions)]
    length = sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def _written(vector: list[float], packed: bool) -> list[float] | str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector


def moderation(call: Call, key: str) -> Iterator[Frame]:
    """Return a moderation that flags nothing."""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    results = [result] * len(_inputs(call.decoded("input", MAX_READ)))
    yield Frame(msgspec.json.encode({"id": f"modr-{key}", "model": call.model, "results": results}))


def rerank(call: Call, key: str) -> Iterator[Frame]:
    """Rank documents by the share of the query's words in them, in the format of Cohere and Jina."""
    query = call.decoded("query", MAX_READ)
    documents = call.decoded("documents", MAX_READ)
    held = _inputs(documents) if isinstance(documents, list) and documents else []
    wanted = set(query.lower().split()) if isinstance(query, str) else set()
    scored = [(len(wanted & set(text.lower().split())) / max(1, len(wanted)), text) for text in held]
    order = sorted(range(len(scored)), key=lambda index: -scored[index][0])
    shown = call.decoded("return_documents", MAX_READ) is True
    results = [
        {"index": index, "relevance_score": scored[index][0]}
        | ({"document": {"text": scored[index][1]}} if shown else {})
        for index in order[: _integer(call, "top_n", len(order), MAX_INPUTS)]
    ]
    usage = _usage(_tokens(call, "query", "documents"))
    answer = {
        "id": f"rerank-{key}",
        "object": "list",
        "model": call.model,
        "results": results,
        "usage": usage,
    }
    yield Frame(msgspec.json.encode(answer))


def _integer(call: Call, name: str, default: int, most: int) -> int:
    value = call.decoded(name, MAX_READ)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return default
    return min(value, most)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _tokens(call: Call, *names: str) -> int:
    return tokens_of(*(call.fields[name] for name in names if name in call.fields))
