"""The setting ``raw`` of an upstream."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.config.errors import InvalidValue
from flask_gateway.config.file_upstream import UPSTREAM
from flask_gateway.config.raw_syntax import MAX_PATTERNS
from flask_gateway.model.raw_path import RawPath

RAW = UPSTREAM["raw"]


def test_patterns_are_read_once_each() -> None:
    given = ["GET files/*", "POST batches", "GET files/*"]
    assert RAW.check(given) == (RawPath("GET", "files/*"), RawPath("POST", "batches"))
    assert RAW.check([]) == ()


@pytest.mark.parametrize(
    "value",
    [
        "GET files/*",
        ["files/*"],
        ["get files"],
        ["GET /files"],
        ["GET files/../x"],
        ["GET files//x"],
        ["GET files/%2f"],
        ["GET  files"],
        ["HEAD files"],
        [1],
        ["GET a"] * (MAX_PATTERNS + 1),
    ],
)
def test_a_wrong_pattern_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(InvalidValue, match="GET files"):
        RAW.check(value)
