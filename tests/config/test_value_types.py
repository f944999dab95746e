"""Tests the types of settings: the texts and the TOML values that each accepts, and what a refusal shows."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.config.errors import InvalidValue
from flask_gateway.config.schema import MASK
from flask_gateway.config.value_types import (
    Addresses,
    BaseType,
    Continuing,
    CorsOrigins,
    Flag,
    Name,
    NamePatterns,
    Names,
    OneOf,
    Seconds,
    StateUrl,
    Switch,
    TextLine,
    TextLines,
    UpstreamList,
    UpstreamUrl,
    UrlPath,
    WholeNumber,
)

NUMBER, SECONDS = WholeNumber("a number", 1, 99), Seconds("seconds", 0.5, 60)
WORD, WORDS = OneOf("one or three", ("one", "three"), ("old",)), Names("one or three", ("one", "three"))
ORIGINS, PATTERNS = CorsOrigins("origins"), NamePatterns("patterns")

TEXTS: list[tuple[BaseType, str, Any]] = [
    (NUMBER, " 7 ", 7),
    (NUMBER, "0007", 7),
    (SECONDS, ".5", 0.5),
    (SECONDS, "6e1", 60.0),
    (WORD, "old", "old"),
    (WORDS, "three, one,three,", ("three", "one")),
    (WORDS, "", ()),
    (Switch("on or off"), "off", False),
    (ORIGINS, "HTTPS://A.test:443, http://b.test:8080,*", ("https://a.test", "http://b.test:8080", "*")),
    (ORIGINS, "", ()),
    (PATTERNS, "gpt-*, a", ("gpt-*", "a")),
    (PATTERNS, "none", ()),
    (Name("a name"), "a.b_c-9", "a.b_c-9"),
    (TextLine("text"), "a b", "a b"),
    (Addresses("addresses"), "[::1]:80, unix:/run/x", "[::1]:80, unix:/run/x"),
    (UrlPath("a path"), "/openai/v1/", "/openai/v1"),
    (UpstreamList("upstreams"), "a=http://a.test; b=http://b.test;", None),
    (StateUrl("a store"), "redis://:p%40ss@host:6379/0", "redis://:p%40ss@host:6379/0"),
]


@pytest.mark.parametrize(("kind", "text", "value"), TEXTS)
def test_a_text_of_the_environment(kind: BaseType, text: str, value: Any) -> None:
    parsed = kind.parse(text)
    assert value is None or parsed == value


VALUES: list[tuple[BaseType, object, Any]] = [
    (NUMBER, 99, 99),
    (SECONDS, 1, 1.0),
    (WORDS, ["one", "one"], ("one",)),
    (ORIGINS, ["http://a.test:80"], ("http://a.test",)),
    (PATTERNS, ["a*"], ("a*",)),
    (Flag("true or false"), True, True),
    (Continuing("a way", ("vllm",)), True, "vllm"),
    (Continuing("a way", ("vllm",)), False, None),
    (TextLines("lines"), ["a", "b"], frozenset("ab")),
]


@pytest.mark.parametrize(("kind", "given", "value"), VALUES)
def test_a_value_of_the_file(kind: BaseType, given: object, value: Any) -> None:
    assert kind.check(given) == value


REFUSED: list[tuple[BaseType, object, str]] = [
    (NUMBER, "", "a number"),
    (NUMBER, "-1", "a number"),
    (NUMBER, "9" * 5000, "at most 99"),
    (NUMBER, True, "a number"),
    (NUMBER, 0, "a number"),
    (SECONDS, "nan", "seconds"),
    (SECONDS, float("nan"), "from 0.5 to 60"),
    (SECONDS, 61, "from 0.5 to 60"),
    (WORD, "thre", "did you mean three?"),
    (WORDS, ["thre"], "did you mean three?"),
    (WORDS, 5, "one or three"),
    (Switch("on or off"), "true", "on or off"),
    (ORIGINS, "http://a.test/path", "no path"),
    (ORIGINS, "null", "origins"),
    (ORIGINS, [5], "origins"),
    (PATTERNS, [""], "patterns"),
    (Flag("true or false"), 1, "true or false"),
    (Name("a name"), "-a", "a name"),
    (TextLine("text"), " ", "text"),
    (TextLine("text"), "a\x00", "text"),
    (TextLines("lines"), [], "lines"),
    (Addresses("addresses"), "8000", "did you mean 127.0.0.1:8000?"),
    (Addresses("addresses"), "a:99999", "with a port from 0 to 65535"),
    (UrlPath("a path"), "openai", "a path"),
    (UpstreamList("upstreams"), ";", "upstreams"),
    (UpstreamList("upstreams"), "a", "entry 1 has no ="),
    (UpstreamList("upstreams"), "a=http://a.test;a=http://b.test", "entry 2 repeats one"),
    (UpstreamList("upstreams"), "a=http://a.test,b=http://b.test", "separate upstreams with ;"),
    (UpstreamList("upstreams"), "_=http://a.test", "see the name in entry 1"),
    (StateUrl("a store"), "postgres://x", "a store"),
    (StateUrl("a store"), "redis://:p/ss@host", "percent-encode"),
]


@pytest.mark.parametrize(("kind", "given", "words"), REFUSED)
def test_a_value_that_is_refused_says_what_was_expected(kind: BaseType, given: object, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind.parse(given) if isinstance(given, str) else kind.check(given)
    assert words in f"{caught.value.expected}; {caught.value.hint}"


def test_a_refusal_shows_no_secret() -> None:
    assert "secret" not in str(UpstreamUrl("a URL").show("http://user:secret@host"))
    assert "secret" not in str(WORD.show("redis://:secret@host"))
    assert WORD.show(["secret"]) == "a list"
    assert StateUrl("a store").show("secret") == MASK
    with pytest.raises(InvalidValue) as caught:
        UpstreamList("upstreams").parse("a=http://u:sec=ret;x@host")
    assert caught.value.shown == MASK


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:26379,b/main/0",
        "rediss+sentinel://user:p%40ss@10.0.0.1:1,[::1]:2/main?ssl_ca_certs=/ca.pem",
    ],
)
def test_sentinels_are_named_by_a_url(url: str) -> None:
    assert StateUrl("x").parse(url) == url


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://a:1", "redis+sentinel://a:x/main", "redis+sentinel://a,,b/main", "x+sentinel://a/m"],
)
def test_sentinels_that_are_named_wrongly_are_refused(url: str) -> None:
    with pytest.raises(InvalidValue):
        StateUrl("x").parse(url)
