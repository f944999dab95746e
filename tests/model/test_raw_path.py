"""Raw paths: which request a pattern allows, and which path leads elsewhere."""

from __future__ import annotations

import pytest

from flask_gateway.model.raw_path import MAX_PATH, RawPath, is_path, matching

PATTERNS = (RawPath("GET", "files/*"), RawPath("GET", "files/**"), RawPath("POST", "batches"))


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "files/file-1", "GET files/*"),
        ("GET", "files/file-1/content", "GET files/**"),
        ("POST", "batches", "POST batches"),
        ("POST", "batches/b", None),
        ("POST", "files/x", None),
        ("GET", "files", None),
        ("GET", "files/", None),
        ("GET", "xfiles/a", None),
        ("GET", "files/..", None),
        ("GET", "files/a/../../b", None),
    ],
)
def test_the_first_pattern_that_fits(method: str, path: str, found: str | None) -> None:
    one = matching(PATTERNS, method, path)
    assert (None if one is None else str(one)) == found


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "a/.../b", "a%2fb", "a\\b", "a?b"),
        *("a#b", "a b", "é", "a\n", "a;b", "a" * (MAX_PATH + 1)),
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_none(path: str) -> None:
    assert not is_path(path)


@pytest.mark.parametrize("path", ["a", "a/b", "files/file-1.jsonl", "v1:beta/x@y", "a/..b"])
def test_usual_paths(path: str) -> None:
    assert is_path(path)
