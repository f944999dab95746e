"""Tests that work on large bodies never holds the GIL for long, and that slicing does not change results."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call
from kit.examples import examples
from kit.json_shapes import refuses

from flask_gateway.dialects.usage import Tally, asking_for_usage, estimate, tally_body
from flask_gateway.model import large_json
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import GatewayError, InvalidJson
from flask_gateway.model.large_json import (
    LARGE,
    SLICE,
    Texts,
    check_utf8,
    first_bad_byte,
    slices,
    split_at_quotes,
    taking_turns,
)
from flask_gateway.streaming.splice import may_continue
from flask_gateway.upstreams.mock.chat import compose
from flask_gateway.web import duplicate_model, json_limits
from flask_gateway.web.duplicate_model import names_model_twice
from flask_gateway.web.request_body import check, parse_fields, take_fallbacks

SIZE = 16 * 1024 * 1024 - 4096
#: The CPU time, seconds, that the thread may spend in one call into C. It is 5 to 40 ms for the largest body.
#: The time by the clock may be any, on a machine that has other work to do.
LONGEST = 0.1


def chat(text: bytes, rest: bytes = b"") -> bytes:
    return b'{"model":"m","stream":true,"messages":[{"role":"user","content":"' + text + b'"}]' + rest + b"}"


def listed(item: bytes, name: bytes = b"input") -> bytes:
    return chat(b"Hello", b',"' + name + b'":[' + item * (SLICE * 63 // len(item)) + b"1]")


def text_of(part: str) -> bytes:
    part_of_it = part.encode()
    return chat(part_of_it * (SIZE // len(part_of_it)))


BODIES: dict[str, Callable[[], bytes]] = {
    "ASCII": lambda: text_of("word "),
    "Chinese": lambda: text_of("你"),
    "emoji": lambda: text_of("😀"),
    "one emoji": lambda: chat(b"x" * (SIZE - 9) + "😀".encode()),
    "mixed": lambda: text_of("a你é"),
    "numbered escapes": lambda: text_of("\\u4f60"),
    "letters as escapes": lambda: text_of("\\u0061"),
    "escaped quotes": lambda: text_of('\\"'),
    "escaped backslashes": lambda: text_of("\\\\"),
    "numbers": lambda: listed(b"1,"),
    "numbers in a message": lambda: listed(b"1,").replace(b'"Hello"', b"[" + b"1," * 99 + b"1]"),
    "fractions": lambda: listed(b"1.5,", b"prompt"),
    "few exponents": lambda: listed(b"1,").replace(b"1,1,1", b"1e1", 20_000),
    "blanks": lambda: listed(b"          "),
    "a million small keys": lambda: listed(b'{"a":1},'),
    "a million names": lambda: listed(b"1,").replace(b"1,", b'"a":1,'),
    "a million messages": lambda: listed(b'{"role":"user"},', b"messages"),
    "50000 parts": lambda: chat(b"x" * (SLICE * 50), b',"input":[' + b'{"text":"a"},' * 20_000 + b"1]"),
    "deep": lambda: listed(b"[" * 60 + b"]" * 60 + b","),
    "model twice in it": lambda: listed(b"1,").replace(b"1,1,", b'"model","model",', 1),
    "options of numbers": lambda: listed(b"1,", b"stream_options"),
    "logprobs of numbers": lambda: listed(b"1,", b"logprobs"),
    "broken numbers": lambda: listed(b"1."),
    "an open text of backslashes": lambda: chat(b"\\" * SIZE)[:-4],
    "quotes": lambda: b'"' * SIZE,
    "not UTF-8 at its end": lambda: chat("é".encode() * (SIZE // 2) + b"\xff"),
}


def longest_call(work: Callable[[], Any]) -> float:
    """The most CPU time of this thread between two moments at which Python could let another thread run."""
    last = longest = 0.0

    def event(frame: FrameType, what: str, argument: Any) -> None:
        nonlocal last, longest
        longest = max(longest, time.thread_time() - last)
        last = time.thread_time()

    last = time.thread_time()
    sys.setprofile(event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return longest


def way_of(body: bytes) -> None:
    """Do everything that the gateway does with a body, from its arrival to the record of its call."""
    fields = parse_fields(body)
    with suppress(GatewayError):
        check(Operation.CHAT, fields)
    with suppress(GatewayError):
        take_fallbacks(fields)
    call = msgspec.structs.replace(make_call(stream=True), fields=fields)
    asking_for_usage(call).payload()
    may_continue(call)
    compose(call, "mock", None)
    estimate(fields, Tally())


#: Bodies that take half a second and more, each with one like it among the others.
LONG = {"50000 parts", "letters as escapes", "escaped backslashes", "few exponents"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind in LONG else kind for kind in BODIES]
)
def test_no_call_into_c_holds_the_gil_for_long(kind: str):
    body = BODIES[kind]()

    def work() -> None:
        with suppress(GatewayError):
            way_of(body)

    assert longest_call(work) < LONGEST


def test_counting_an_answers_tokens_holds_the_gil_only_briefly():
    answer = json.dumps({"choices": [{"message": {"content": "你" * (SIZE // 3)}}]}, ensure_ascii=False)
    body = answer.encode()
    assert longest_call(lambda: tally_body(body)) < LONGEST


# ------------------------------------------------------------------ slices and turns


@pytest.mark.parametrize("size", [0, 1, SLICE, SLICE + 1, LARGE + 17])
def test_slices_are_complete_and_short(size: int):
    data = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    for given_as in (data, memoryview(data)):
        pieces = list(slices(given_as))
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= SLICE


def test_one_thread_at_a_time_works_on_large_json_and_small_work_does_not_wait():
    at_once = most = 0
    small_done = threading.Event()

    def work() -> None:
        nonlocal at_once, most
        with taking_turns(LARGE + 1):
            at_once += 1
            most = max(most, at_once)
            assert small_done.wait(10)
            at_once -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    with taking_turns(LARGE):
        small_done.set()
    for thread in threads:
        thread.join()
    assert most == 1


def test_work_may_enter_its_turn_again_and_threads_switch_more_often_meanwhile():
    usual = sys.getswitchinterval()
    with taking_turns(LARGE + 1):
        with taking_turns(LARGE + 1):
            assert sys.getswitchinterval() < usual
        assert sys.getswitchinterval() < usual
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_the_first_byte_that_is_no_utf8_is_found_in_any_slice(bad: bytes):
    for before in (0, 5, SLICE - 1, SLICE, 2 * SLICE + 7):
        data = "é".encode() * (before // 2) + b"a" * (before % 2) + bad
        assert first_bad_byte(data) == before
        with pytest.raises(ValueError, match=r"(?i)utf-8"):
            check_utf8(data)
    assert check_utf8("é".encode() * SLICE)


# ------------------------------------------------------------------ slices change nothing

PIECES = st.lists(
    st.sampled_from(
        ['"', "\\", '\\"', "\\\\", "{", "}", "[", "]", ":", ",", "1", "e", "309", ".", "-", "true", "é"]
    ),
    max_size=40,
).map("".join)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.fixture
def tiny_slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    def cut(size: int) -> None:
        monkeypatch.setattr(large_json, "SLICE", size)
        monkeypatch.setattr(json_limits, "SLICE", size)

    return cut


@given(PIECES, st.data())
def test_strings_are_the_same_for_any_slicing(text: str, data: st.DataObject):
    body = text.encode()
    whole = Texts()
    expected = b"".join(whole.split(body)[::2])
    parts, outside, rest = Texts(), b"", body
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        inside = parts.inside
        outside += b"".join(parts.split(rest[:size])[inside::2])
        rest = rest[size:]
    # Of texts that do not end nothing is said, nor of backslashes outside.
    if not whole.inside and b"\\" not in expected and b"--" not in expected:
        assert outside == expected
        assert (parts.inside, parts.quotes) == (whole.inside, whole.quotes)


@settings(max_examples=examples(60, 200))
@given(values, st.integers(1, 9), st.booleans())
def test_the_shape_is_the_same_for_any_slicing(value: Any, size: int, ascii_only: bool):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "SLICE", size)
        patch.setattr(json_limits, "SLICE", size)
        body = json.dumps({"value": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert not refuses(body)
        assert refuses(body[:-1] + b',"x":' + b"[" * 64 + b"]" * 64 + b"}")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 400])
@pytest.mark.parametrize(
    ("number", "refused"),
    [
        ("1e999", True),
        ("-1e400", True),
        ("0.1e310", True),
        ("1" + "0" * 300 + "e10", True),
        ("9" * 310, True),
        ("9" * 309, False),
        ("1.7976931348623157e308", False),
        ("1e-999", False),
        ("1." + "9" * 300 + "e5", False),
        ("true,false,1e5", False),
    ],
)
def test_numbers_are_the_same_for_any_slicing(
    tiny_slices: Callable[[int], None], number: str, refused: bool, size: int
):
    tiny_slices(size)
    assert refuses(f'{{"a":[true,{number}],"b":"x"}}'.encode()) is refused
    assert not refuses(f'{{"a":"{number}"}}'.encode())


NAMES = st.sampled_from(
    ["model", "\\u006dodel", "mode\\u006C", "Model", "mod", 'mo\\"del', "\\\\u006dodel", "x"]
)


@settings(max_examples=examples(80, 300))
@given(st.lists(st.tuples(NAMES, values | st.just("model")), max_size=5), st.integers(1, 30), st.booleans())
def test_a_duplicate_model_is_found_for_any_slicing(pairs: list[tuple[str, Any]], size: int, blanks: bool):
    colon = " \n: " if blanks else ":"
    inner = '{"model":1,"model":2}'
    flat = "{" + ",".join(f'"{name}"{colon}{json.dumps(value)}' for name, value in pairs) + "}"
    nested = flat[:-1] + ("," if pairs else "") + f'"deep":[{inner}]' + "}"
    for text in (flat, nested):
        top = json.loads(text, object_pairs_hook=lambda found: [name for name, _ in found])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(large_json, "SLICE", size)
            patch.setattr(duplicate_model, "LONG", size)
            body = text.encode("utf-8", "surrogatepass")
            fields = {
                name: msgspec.Raw(json.dumps(value).encode()) for name, value in json.loads(text).items()
            }
            assert names_model_twice(body, fields) == (top.count("model") > 1)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("before", "at"), [("aé你😀", 10), ("", 0), ("x" * 7, 7)])
def test_invalid_utf8_is_reported_at_its_position(
    tiny_slices: Callable[[int], None], before: str, at: int, size: int
):
    tiny_slices(size)
    with pytest.raises(InvalidJson, match=f"byte {at}\\."):
        parse_fields(before.encode() + b"\xff" + b"abc")
    with pytest.raises(InvalidJson, match=f"byte {at}\\."):
        parse_fields(before.encode() + b"\xe4\xbd")  # cut


# ------------------------------------------------------------------ what a prompt costs

LETTERS = st.text(st.sampled_from('aé "\\\n你カ한😀𠀀“…\uff46⺀ᄀЖ\u200b/'), max_size=30)
messages = st.recursive(
    LETTERS | st.integers(-5, 99999) | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["content", "text", "name", "role", "image_url"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(max_examples=examples(80, 300))
@given(messages, st.booleans(), st.booleans())
def test_a_prompt_counts_the_same_as_bytes_and_as_objects(value: Any, ascii_only: bool, indented: bool):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if indented else None)
    objects, in_bytes = Tally(), Tally()
    objects.add_all(value)
    in_bytes.add_json(text.encode())
    assert in_bytes.tokens == objects.tokens


def test_a_long_list_of_numbers_is_counted_without_creating_objects():
    fields = parse_fields(b'{"input":[' + b"1, " * 2_000_000 + b"1]}")
    assert estimate(fields, Tally()).prompt_tokens == 2_000_001


def test_numbers_among_strings_are_counted_without_millions_of_objects():
    fields = parse_fields(b'{"input":["a",' + b"1," * 1_000_000 + b"1]}")
    assert 0 < estimate(fields, Tally()).prompt_tokens < 1_000_000


@given(LETTERS)
def test_one_long_text_counts_like_many_short_ones(text: str):
    short, long = Tally(), Tally()
    for _ in range(4000):
        short.add(text)
    long.add(text * 4000)
    assert long.tokens == short.tokens


def test_a_long_text_of_an_answer_does_not_hold_the_gil():
    text, tally = "你" * (SIZE // 3), Tally()
    assert longest_call(lambda: tally.add(text)) < LONGEST


def test_options_that_are_too_long_are_not_decoded():
    call = make_call(stream=True, stream_options={"x": [1] * 5000})
    assert asking_for_usage(call) is call
    assert not may_continue(make_call(stream=True, logprobs=[1] * 5000))


def test_a_mock_counts_a_long_prompt_without_decoding_it():
    call = make_call(messages=[{"role": "user", "content": "word " * 200_000}])
    speech = compose(call, "mock", None)
    assert speech.prompt_tokens == pytest.approx(250_000, rel=0.01)
    assert len(speech.text) < 100


@given(st.lists(st.binary(max_size=5), max_size=150), st.integers(-1, 150))
def test_text_is_split_at_quotes_as_bytes_are(parts: list[bytes], most: int) -> None:
    text = b'"'.join(parts)
    assert split_at_quotes(text, most) == text.split(b'"', most)
