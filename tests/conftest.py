"""What most tests need: a clock turned by hand, a store that reads it, settings, a client."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from hashlib import sha256
from typing import Any

import hypothesis
import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from needs import left_out
from planted import KEY, UPSTREAM_KEY, Overheard, found_in, printed_by
from stores_support import HandClock

from flask_gateway import create_app
from flask_gateway.config import (
    CandidateSettings,
    KeySettings,
    ModelSettings,
    Secret,
    Settings,
    UpstreamSettings,
)
from flask_gateway.core import Call, Caller, Ids, Operation
from flask_gateway.stores.memory import MemoryStore

# A machine that is busy with something else makes no test wrong.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

AUTH = {"Authorization": f"Bearer {KEY}"}
_overheard = Overheard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever a test or what it runs has printed or logged: a secret in it fails the test."""
    report = yield
    found = found_in("".join(text for _, text in report.sections)) + _overheard.secrets()
    if report.passed and found:
        report.outcome, report.longrepr = "failed", f"{item.nodeid} has printed {found}"
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run says which tests were left out for want of a program."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    skipped = reporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if line := left_out(reasons):
        reporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _nothing_printed_has_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set up before all others, so that it ends when the last server has."""
    with _overheard.listening():
        yield
    assert printed_by(tmp_path_factory.getbasetemp().rglob("*")) == []


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> MemoryStore:
    return MemoryStore(clock)


def make_settings(**changes: Any) -> Settings:
    """Two upstreams over HTTP and a mock, two keys, one renamed model."""
    settings = Settings(
        keys=(
            KeySettings(id="team-a", digest=sha256(KEY.encode()).digest()),
            KeySettings(id="team-b", digest=sha256(b"other-key").digest(), models=frozenset({"mock"})),
        ),
        upstreams=(
            UpstreamSettings(name="llama", url="http://llama.test/v1", api_key=Secret(UPSTREAM_KEY)),
            UpstreamSettings(name="bare", url="http://bare.test/v1"),
            UpstreamSettings(name="mock", url="mock://local"),
        ),
        models=(
            ModelSettings(
                name="fast", tiers=((CandidateSettings(upstream="llama", model="llama-3-8b-instruct"),),)
            ),
        ),
    )
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture
def settings() -> Settings:
    return make_settings()


@pytest.fixture
def app(settings: Settings, store: MemoryStore) -> Flask:
    return create_app(settings, store)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def make_client(store: MemoryStore) -> Callable[..., FlaskClient]:
    """A client of a gateway with some settings changed."""

    def make(**changes: Any) -> FlaskClient:
        return create_app(make_settings(**changes), store).test_client()

    return make


def chat(model: str = "llama", **fields: Any) -> dict[str, Any]:
    """The body of a small chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


def make_call(model: str = "m", *, caller: Caller | None = None, stream: bool = False, **fields: Any) -> Call:
    """A call as the door would make it."""
    body = msgspec.json.encode(chat(model, **fields))
    return Call(
        ids=Ids("req-1", "trace-1", "00-" + "1" * 32 + "-" + "2" * 16 + "-00"),
        caller=caller or Caller("team-a", 0),
        operation=Operation.CHAT,
        model=model,
        fields=msgspec.json.decode(body, type=dict[str, msgspec.Raw]),
        stream=stream,
        started=0.0,
    )


def sse(*events: Any, done: bool = True) -> bytes:
    """Chat events as an upstream streams them."""
    lines = [b"data: " + (e if isinstance(e, bytes) else msgspec.json.encode(e)) + b"\n\n" for e in events]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a chat stream."""
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "llama",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


ROLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
}
