"""Attacks the gateway as an upstream: a clear 502 or error event, bounded memory, no other caller harmed.

Covers S4, S5, S6, S15, S17 and S23 of docs/security.md. The attacks are in ``kit/hostile.py``.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kit.gateways import KEY
from kit.hostile import PLANTED
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway, Upstream
from kit.wire import content, open_stream

pytestmark = pytest.mark.live


#: The status and code for each behaviour, streamed or not. The caller learns whose fault it was, no details.
FAULTS = [
    ("headed,count=10000", "upstream_malformed"),
    ("headed,size=65600", "upstream_malformed"),
    ("endless-head", "upstream_malformed"),
    ("interim", "upstream_malformed"),
    ("interim,pause=0.05", "upstream_timeout"),
    ("upgrade", "upstream_misconfigured"),
    ("old", "upstream_stream_cut"),
    ("two-lengths", "upstream_malformed"),
    ("bomb", "upstream_malformed"),
    ("bomb,code=500", "upstream_error"),
    ("smuggled-bomb", "upstream_malformed"),
    ("endless-error", "upstream_error"),
    ("endless-trailers", "upstream_stream_cut"),
    ("endless-size", "upstream_stream_cut"),
    ("away", "upstream_misconfigured"),
    ("away,code=302", "upstream_misconfigured"),
    ("away,code=308", "upstream_misconfigured"),
    ("endless", "upstream_malformed"),
]


@contextmanager
def others_are_served(gateway: Gateway, upstream: str) -> Iterator[None]:
    """Another caller keeps asking another upstream, and gets its own answers."""
    stop, answers = threading.Event(), []

    def ask_on() -> None:
        while not stop.is_set() or not answers:
            answers.append(gateway.chat(f"{upstream}/ok,tokens=2"))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_on)
        try:
            yield
        finally:
            stop.set()
            asking.result()
    assert {answer.status for answer in answers} == {200}
    assert {answer.json["choices"][0]["message"]["content"] for answer in answers} == {"tok0 tok1 "}


@pytest.fixture(scope="module")
def bystander(target: Gateway, victim) -> str:
    """The name of a well-behaved upstream. Warm-up calls have used it: their memory is not measured."""
    name = str(victim())
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: target.chat(f"{name}/ok").status, range(400))) == {200}
    return name


@pytest.mark.parametrize(("behaviour", "code"), FAULTS)
def test_a_faulty_upstream_is_a_502(target: Gateway, victim, bystander, behaviour, code):
    model = f"{victim()}/{behaviour}"
    with others_are_served(target, bystander), cost_to(target) as cost:
        answer = target.chat(model)
    assert (answer.status, answer.error["code"]) == (504 if "timeout" in code else 502, code)
    assert PLANTED not in str(answer)
    assert "169.254" not in str(answer)
    # A buffered answer is collected, up to 32 MiB. Everything else takes almost no memory.
    assert cost.memory < (80 if behaviour == "endless" else 4) * MIB


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("endless", "upstream_malformed"),
        ("bomb", "upstream_malformed"),
        ("page", "upstream_misconfigured"),
    ],
)
def test_a_stream_that_never_begins_is_an_error(target: Gateway, victim, bystander, behaviour, code):
    model = f"{victim()}/{behaviour}"
    with others_are_served(target, bystander), cost_to(target) as cost:
        answer = target.chat(model, stream=True)
    assert (answer.status, answer.error["code"]) == (502, code)
    # An event is collected, up to 16 MiB.
    assert cost.memory < (40 if behaviour == "endless" else 4) * MIB


@pytest.mark.parametrize("stream", [False, True])
def test_a_good_answer_with_the_wrong_content_type_passes(target: Gateway, victim, stream):
    answer = target.chat(f"{victim()}/liar", stream=stream)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert b"tok2" in answer.body


def test_an_endless_event_after_the_first_tokens_ends_the_stream(target: Gateway, victim, bystander):
    asked = open_stream(target.port, KEY, f"{victim()}/endless,after=2")
    with others_are_served(target, bystander), cost_to(target) as cost, asked as stream:
        *words, end = stream.data()
    assert content(words) == "tok0 tok1 "
    assert json.loads(end)["error"]["code"] == "upstream_malformed"
    assert cost.memory < 40 * MIB


def test_endless_comments_take_no_memory(target: Gateway, victim, bystander):
    model, patience = f"{victim()}/empty-events", {"x_request_timeout": "2"}
    with others_are_served(target, bystander), cost_to(target) as cost:
        answer = target.chat(model, stream=True, headers=patience)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")  # they do not commit the reply
    assert cost.memory < 4 * MIB


# ---------------------------------------------------------------- unsolicited answers


@pytest.mark.parametrize("behaviour", ["behind", "later", "short-length", "two-lengths", "upgrade"])
def test_an_unsolicited_answer_reaches_no_caller(target: Gateway, upstream: Upstream, victim, behaviour):
    name = victim()
    for _ in range(6):  # it may lie on the pooled connection of either worker
        upstream.script(behaviour)
        target.chat(f"{name}/whatever")
        time.sleep(0.15 if behaviour == "later" else 0)
        for stream in (False, True):
            answer = target.chat(f"{name}/ok,tokens=2", stream=stream)
            assert answer.status == 200
            assert PLANTED not in answer.body.decode()


def test_two_callers_never_get_each_others_answers(target: Gateway, bystander):
    """Over pooled connections, with some streams abandoned half-way."""

    def ask(number: int) -> None:
        tokens = number % 7 + 1
        if number % 3 == 0:
            with open_stream(target.port, KEY, f"{bystander}/ok,tokens={tokens},pause=0.001") as stream:
                next(stream.events())
            return
        answer = target.chat(f"{bystander}/ok,tokens={tokens}")
        assert answer.status == 200, answer
        expected = "".join(f"tok{index} " for index in range(tokens))
        assert answer.json["choices"][0]["message"]["content"] == expected

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ask, range(300)))


# ---------------------------------------------------------------- redirects and addresses


def test_no_redirect_and_no_field_is_followed(target: Gateway, upstream: Upstream, victim):
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        place = f"127.0.0.1:{canary.getsockname()[1]}"
        for code in (301, 302, 303, 307, 308):
            assert target.chat(f"{victim()}/away,to={place}/v1,code={code}").status == 502
        urls = [
            f"http://{place}/v1",
            f"http://a@{place}",
            f"http://[::ffff:127.0.0.1]:{canary.getsockname()[1]}",
        ]
        urls += ["http://169.254.169.254/", "file:///etc/passwd", "//[fe80::1]/"]
        fields = ("api_base", "base_url", "api_url", "endpoint", "api_key")
        headers = ("x-upstream-host", "x-forwarded-host", "x-original-url", "x-base-url", "x-api-base")
        for url in urls:
            upstream.reset()
            named = dict.fromkeys(headers, url)
            answer = target.chat("ok", headers=named, **dict.fromkeys(fields, url), metadata={"url": url})
            assert answer.status == 200
            entry = upstream.last()
            assert not set(fields) & set(json.loads(entry["body"]))
            # The only trace is the field that the caller wrote and that we pass on.
            assert json.dumps(entry).count(json.dumps(json.dumps(url))[1:-1]) <= 1
            assert url not in json.dumps(entry["headers"])
        with pytest.raises(TimeoutError):
            canary.accept()


# ---------------------------------------------------------------- the words of the upstream


@pytest.mark.parametrize("code", [400, 404, 429, 500, 401])
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstreams_words_inject_no_header(target: Gateway, victim, code: int, stream: bool):
    answer = target.chat(f"{victim()}/split,code={code}", stream=stream)
    assert answer.status == (502 if code in (401, 500) else code)
    assert isinstance(answer.error["message"], str)
    assert "set-cookie" not in answer.headers
    assert PLANTED not in json.dumps(answer.headers)


#: Texts that reveal internals of the gateway or of the upstream.
INSIDES = re.compile(
    r"127\.0\.0\.1|10\.0\.0\.7|localhost|:\d{4,5}\b|/usr|/home|/tmp|\.py\b|Traceback|Error\(|object at 0x"
    r"|urllib3|requests\.|msgspec|gunicorn|werkzeug|flask\.|http\.client|socket|Errno|[Ee]xception"
)


FAILURES = """error-200 error-first hang-up hang-up,how=reset broken-json html html,code=500 nothing redirect
cut cut,how=reset bad-event no-end status,code=503 old split,code=500 never"""


@pytest.mark.parametrize("behaviour", FAILURES.split())
@pytest.mark.parametrize("stream", [False, True])
def test_no_error_reveals_internals(target: Gateway, bystander, behaviour: str, stream: bool):
    answer = target.chat(f"{bystander}/{behaviour}", stream=stream)
    assert not INSIDES.search(answer.body.decode()), answer
    assert not INSIDES.search(json.dumps({**answer.headers, "server": ""})), answer


def test_an_unreachable_upstreams_address_is_not_revealed(gateway: Gateway):
    answer = gateway.chat("dead/any")
    assert answer.status == 502
    assert not INSIDES.search(answer.body.decode())
