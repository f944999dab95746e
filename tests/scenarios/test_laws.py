"""Checks laws that hold for every request, on thousands of random requests and a fake upstream."""

from __future__ import annotations

import builtins
import http.client
import io
import json
import logging
import random
import re
import socket
import ssl
import string
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import msgspec
import pytest
import requests
import urllib3
import werkzeug.exceptions
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from kit.calls import chat, make_settings
from kit.examples import examples as count
from kit.header_names import NAMES, TO_CALLER, TO_UPSTREAM
from kit.planted import KEY, UPSTREAM_KEY
from kit.upstream_mock import replayed

from flask_gateway import create_app
from flask_gateway.config.schema import CandidateSettings, KeySettings, ModelSettings
from flask_gateway.upstreams.transport.pool import Adapter
from flask_gateway.web import inference as web_chat

OTHER_KEY = "planted-other-key-51d2"
NARROW_KEY = "planted-narrow-key-9e01"
PATH = "/v1/chat/completions"
THREADS = 4


class FakeNetwork:
    """Replaces the requests adapter. Echoes the prompt under planted headers."""

    def __init__(self) -> None:
        self.sent: list[requests.PreparedRequest] = []

    def send(self, _: Adapter, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        self.sent.append(request)
        body = json.loads(request.body or b"")
        words = body["messages"][-1]["content"]
        chance = random.Random(words)
        headers = dict.fromkeys(chance.sample(NAMES, 8), f"planted-{words}") | {"X-Key": UPSTREAM_KEY}
        status = chance.choice([200, 200, 200, 400, 422])
        choice = {"index": 0, "finish_reason": "stop"}
        if status != 200:
            content = json.dumps({"error": {"message": words, "code": "odd"}}).encode()
        elif body.get("stream"):
            event = {"choices": [choice | {"delta": {"content": words}}]}
            content = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
        else:
            content = json.dumps({"choices": [choice | {"message": {"content": words}}]}).encode()
        headers["Content-Type"] = "text/event-stream" if body.get("stream") else "application/json"
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = urllib3.HTTPResponse(io.BytesIO(content), headers, status, preload_content=False)
        return replayed(response)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNetwork]:
    upstream = FakeNetwork()
    monkeypatch.setattr(Adapter, "send", lambda *args, **kwargs: upstream.send(*args, **kwargs))
    return upstream


def unlimited(**changes: Any) -> Flask:
    def key(name: str, given: str, models: frozenset[str] | None = None) -> KeySettings:
        return KeySettings(id=name, digest=sha256(given.encode()).digest(), models=models)

    keys = (key("a", KEY), key("b", OTHER_KEY), key("c", NARROW_KEY, frozenset({"fast"})))
    return create_app(
        make_settings(
            keys=keys, rate_limit_per_minute=0, failed_keys_per_minute=0, state="memory://", **changes
        )
    )


# ---------------------------------------------------------------- headers, and each caller its own answer


def random_request(chance: random.Random, words: str) -> tuple[dict[str, str], dict[str, Any], str]:
    """Headers, a body, and the key among the headers."""
    key = chance.choice([KEY, OTHER_KEY])
    scheme = chance.choice(["Bearer", "bearer", "BEARER"])
    headers = chance.choice(
        [
            {"Authorization": f"{scheme} {key}"},
            {"X-API-Key": key},
            {"X-Api-Key": key, "Authorization": f"Bearer {key}"},
        ]
    )
    names = [
        name
        for name in chance.sample(NAMES, chance.randrange(12))
        if name not in ("Host", "Expect", "api-key", "Api-Key")
    ]
    headers |= dict.fromkeys(names, f"caller {words}")
    if chance.random() < 0.3:
        headers["x-" + "".join(chance.choices(string.ascii_lowercase, k=8))] = f"caller {words}"
    if chance.random() < 0.3:
        headers["traceparent"] = f"00-{chance.randbytes(16).hex()}-{chance.randbytes(8).hex()}-01"
    stream = {"stream": True} if chance.random() < 0.4 else {}
    body = chat(chance.choice(["llama", "fast", "llama/x"]), **stream, user=chance.choice(["u", None]))
    body["messages"][-1]["content"] = words
    return headers, body, key


def check_one(app: Flask, fake: FakeNetwork, seed: int) -> None:
    chance = random.Random(seed)
    words = f"w{seed:06d}-{chance.randbytes(6).hex()}"
    headers, body, _ = random_request(chance, words)
    with app.test_client() as client:
        answer = client.post(PATH, json=body, headers=headers)
        said = answer.get_data(as_text=True)
    # The response belongs to this caller alone.
    assert set(re.findall(r"w\d{6}-[0-9a-f]{12}", said)) == {words}
    told = str(answer.headers)
    assert {name.lower() for name, _ in answer.headers} <= TO_CALLER, told
    for secret in (UPSTREAM_KEY, KEY, OTHER_KEY, "planted-w", "caller w"):
        assert secret not in told
        assert secret not in said


def test_no_caller_header_goes_up_and_no_upstream_header_comes_back(fake: FakeNetwork):
    """Thousands of requests of two callers, from four threads.

    Until a first stream has succeeded, a refused one is repeated without ``stream_options``.
    """
    app, number = unlimited(), count(1500, 5000)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda seed: check_one(app, fake, seed), range(number)))
    assert (
        len({json.loads(request.body or b"")["messages"][-1]["content"] for request in fake.sent}) == number
    )
    assert len(fake.sent) <= number + THREADS
    for request in fake.sent:
        assert {name.lower() for name in request.headers} <= TO_UPSTREAM
        assert request.headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert request.url == f"http://llama.test{PATH}"
        everything = f"{request.headers} {request.body!r}"
        for secret in (KEY, OTHER_KEY, "caller w"):
            assert secret not in everything


# ---------------------------------------------------------------- authentication comes first


class Unreadable(io.RawIOBase):
    def tell(self) -> int:
        return 0

    def seek(self, *_: int) -> int:
        return 0

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(words, st.sampled_from(["Bearer {}", "Basic {}", "{}", "Bearer  {} x", "Bearer"]), st.booleans())
@examples(
    max_examples=count(100, 300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_the_body_is_not_read_before_the_key_is_known(key: str, form: str, other: bool):
    headers = {"X-API-Key": key} if other else {"Authorization": form.format(key)}
    answer = CLOSED.test_client().post(
        PATH, headers=headers, input_stream=Unreadable(), content_length=100, content_type="application/json"
    )
    assert answer.status_code == 401
    assert answer.json
    assert answer.json["error"]["code"] == "invalid_api_key"


CLOSED = unlimited()


# ---------------------------------------------------------------- the model that was checked


def escaped(name: str, where: int) -> str:
    """A name with one of its letters escaped."""
    at = where % len(name)
    return f"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"


fields = st.lists(
    st.tuples(
        st.sampled_from(["model", "model", "Model", "models", "m", "modelmodel"]),
        st.integers(-6, 5),
        st.sampled_from(
            ['"fast"', '"llama"', '"fa\\u0073t"', '"gpt-x"', "null", "1", '["fast"]', '{"model":"llama"}']
        ),
    ),
    max_size=5,
)


@given(fields, st.sampled_from(["", " ", "\n\t"]))
@examples(
    max_examples=count(400, 1500), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_the_model_sent_upstream_is_the_one_that_was_checked(
    read_by_upstream: Callable[[bytes], list[tuple[str, Any]] | None], pairs: list[Any], space: str
):
    named = [f'"{escaped(name, at) if at >= 0 else name}"{space}:{space}{value}' for name, at, value in pairs]
    body = "{" + ",".join([*named, '"messages":[{"role":"user","content":"w"}]']) + "}"
    read = read_by_upstream(body.encode())
    if read is not None:
        models = [value for name, value in read if name == "model"]
        assert models == ["llama-3-8b-instruct"]  # the upstream's name of this key's only model


@pytest.fixture(scope="module")
def read_by_upstream() -> Iterator[Callable[[bytes], list[tuple[str, Any]] | None]]:
    """Sends the body with a key for one model only. Returns the models that the upstream reads."""
    only = CandidateSettings(upstream="llama", model="llama-3-8b-instruct")
    app, upstream = unlimited(models=(ModelSettings(name="fast", tiers=((only,),)),)), FakeNetwork()
    patch = pytest.MonkeyPatch()
    patch.setattr(Adapter, "send", lambda *args, **kwargs: upstream.send(*args, **kwargs))

    def ask(body: bytes) -> list[tuple[str, Any]] | None:
        upstream.sent.clear()
        headers = {"X-API-Key": NARROW_KEY, "Content-Type": "application/json"}
        status = app.test_client().post(PATH, data=body, headers=headers).status_code
        assert status < 500
        if not upstream.sent:
            return None
        read: list[tuple[str, Any]] = json.loads(upstream.sent[0].body or b"", object_pairs_hook=list)
        return read

    yield ask
    patch.undo()


def test_some_bodies_with_one_allowed_model_pass(read_by_upstream: Callable[..., Any]):
    """Otherwise the law above would hold because no body passes."""
    body = b'{"messages":[{"role":"user","content":"w"}],"m\\u006fdel":"fa\\u0073t","Model":"llama"}'
    assert ("model", "llama-3-8b-instruct") in read_by_upstream(body)
    assert read_by_upstream(body.replace(b'"Model":"llama"', b'"model":"llama"')) is None


# ---------------------------------------------------------------- exceptions stay inside


INSIDES = "http://10.0.0.7:8000/v1 /home/gateway/x.py line 7, in send; Bearer " + UPSTREAM_KEY


def exceptions_of(*modules: Any) -> list[type[Exception]]:
    """All exceptions of these modules that can be raised on the way to an upstream."""
    found = {one for module in modules for one in vars(module).values() if isinstance(one, type)}
    fitting = (Warning, StopIteration, StopAsyncIteration, werkzeug.exceptions.HTTPException)
    kinds = {one for one in found if issubclass(one, Exception) and not issubclass(one, fitting)}
    return sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__))


KINDS = exceptions_of(builtins, requests.exceptions, urllib3.exceptions, http.client, ssl, socket, msgspec)


def one_of(kind: type[Exception]) -> Exception:
    """An exception of this class with secrets in its text, without calling its constructor."""
    error = (
        kind.__new__(kind, "utf-8", b"", 0, 1, INSIDES) if "Unicode" in kind.__name__ else kind.__new__(kind)
    )
    error.args = (INSIDES,)
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["the way there", "the door"])
def test_no_exception_text_reaches_the_caller(
    place: str, stream: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert len(KINDS) > 100
    app = unlimited(circuit_breaker_max_failures=10_000)
    caplog.set_level(logging.CRITICAL)
    for kind in KINDS:

        def fail(*_: Any, kind: type[Exception] = kind, **__: Any) -> None:
            raise one_of(kind)

        where = Adapter if place == "the way there" else web_chat
        monkeypatch.setattr(where, "send" if where is Adapter else "parse_fields", fail)
        answer = app.test_client().post(PATH, json=chat("llama", stream=stream), headers={"X-API-Key": KEY})
        told = f"{answer.headers}{answer.get_data(as_text=True)}"
        assert answer.status_code in (500, 502, 503, 504), kind
        assert set(answer.json or ()) == {"error"}, kind
        for word in (UPSTREAM_KEY, "10.0.0.7", "x.py", "line 7", kind.__name__ + "("):
            assert word not in told, kind
