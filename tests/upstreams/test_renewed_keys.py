"""Keys of upstreams that a command prints: renewed before they expire, kept while the command fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence

import pytest
import responses
from kit.calls import make_call
from kit.upstream_mock import UpstreamMock

from flask_gateway.config.kinds import KeyCommand
from flask_gateway.config.schema import Timeouts, UpstreamSettings
from flask_gateway.model.errors import UpstreamAuthFailed, UpstreamKeyMissing, Verdict
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.key_command import KeyCommandFailed, PrintedKey
from flask_gateway.upstreams.renewed_keys import AFTER_REFUSAL, RenewedKey, RenewedKeys
from flask_gateway.upstreams.transport.client import UpstreamClient

COMMAND = KeyCommand(("print-a-token",), 300.0)
URL = "http://llama.test/v1/chat/completions"


class Printer:
    """A command and a clock of the test. It prints what ``answers`` holds, in turn, and the last again."""

    def __init__(self, *answers: PrintedKey | str) -> None:
        self.answers = list(answers)
        self.now, self.runs = 0.0, 0

    def __call__(self, command: Sequence[str]) -> PrintedKey:
        assert command == COMMAND.arguments
        self.runs += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise KeyCommandFailed(answer)
        return answer

    def key(self) -> RenewedKey:
        return RenewedKey(COMMAND, self, lambda: self.now)

    def runs_at(self, key: RenewedKey, seconds: float) -> bool:
        """Whether the command runs at that time."""
        before, self.now = self.runs, seconds
        key.renew("u")
        return self.runs > before


@pytest.mark.parametrize(
    ("lifetime", "due"),
    [(None, 225), (3600, 2700), (100, 40), (60, 5), (1, 5)],  # None: api_key_seconds, 300
)
def test_a_key_is_renewed_before_it_expires(lifetime: float | None, due: float) -> None:
    printer = Printer(PrintedKey("first", lifetime), PrintedKey("second", lifetime))
    key = printer.key()
    assert printer.runs_at(key, 0)
    assert not printer.runs_at(key, due - 0.1)
    assert key.current("u") == "first"
    assert printer.runs_at(key, due)
    assert key.current("u") == "second"


def test_the_last_key_stays_while_the_command_fails(caplog: pytest.LogCaptureFixture) -> None:
    printer = Printer(PrintedKey("first", 100), "it ended with 1", "it ended with 2", PrintedKey("next", 100))
    key = printer.key()
    with caplog.at_level(logging.WARNING):
        for now in (0, 40, 45, 55):
            assert printer.runs_at(key, now), now
            assert key.current("u") == ("next" if now == 55 else "first")
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "api_key_command of upstream 'u' failed",
        "api_key_command of upstream 'u' gives a key again",
    ]
    assert "it ended with 1 (it goes on with the last key)" in caplog.text


def test_failures_are_tried_again_ever_later_up_to_a_minute() -> None:
    printer, times = Printer("broken"), []
    key = printer.key()
    for second in range(400):
        if printer.runs_at(key, second):
            times.append(second)
    assert times == [0, 5, 15, 35, 75, 135, 195, 255, 315, 375]


def test_without_a_key_no_call_is_sent() -> None:
    key = Printer("broken").key()
    key.renew("u")
    with pytest.raises(UpstreamKeyMissing, match="api_key_command gave none") as caught:
        key.current("u")
    error = caught.value
    assert (error.status, error.code, error.retry_elsewhere) == (503, "upstream_key_missing", True)
    assert error.verdict is Verdict.IGNORED


def test_a_refused_key_is_renewed_soon_and_not_too_often() -> None:
    printer = Printer(PrintedKey("first"), PrintedKey("second"))
    key = printer.key()
    assert printer.runs_at(key, 0)
    key.refused("of before")
    assert not printer.runs_at(key, AFTER_REFUSAL)
    key.refused("first")
    assert printer.runs_at(key, AFTER_REFUSAL)
    key.refused("second")
    assert not printer.runs_at(key, 2 * AFTER_REFUSAL - 1)
    assert printer.runs_at(key, 2 * AFTER_REFUSAL)


def test_a_reload_keeps_the_keys_of_commands_that_stay() -> None:
    printer = Printer(PrintedKey("first"))
    keys = RenewedKeys(printer)
    one = UpstreamSettings(name="one", url="http://a/v1", key_command=COMMAND)
    plain = UpstreamSettings(name="plain", url="http://b/v1")
    mock = UpstreamSettings(name="mock", url="mock://local", key_command=KeyCommand(("never-run",), 60.0))
    keys.change((one, plain, mock))
    assert keys.of(plain) is keys.of(mock) is None
    keys.renew()
    keys.change((plain, one))
    held = keys.of(one)
    assert held is not None
    assert held.current("one") == "first"
    assert printer.runs == 1


# ---------------------------------------------------------------- the upstream


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with UpstreamMock() as mock:
        yield mock


@pytest.fixture
def upstream() -> Iterator[HttpUpstream]:
    reactor = Reactor()
    http = UpstreamClient(reactor)
    yield HttpUpstream("llama", "http://llama.test/v1", None, http, Timeouts())
    http.close()
    reactor.close()


def test_each_call_carries_the_key_of_now_which_no_answer_shows(
    server: responses.RequestsMock, upstream: HttpUpstream
) -> None:
    printer = Printer(PrintedKey("first-token-of-all"), PrintedKey("second-token-of-all"))
    upstream.renewed_key = key = printer.key()
    body = {"object": "chat.completion", "choices": [], "echo": "first-token-of-all second-token-of-all"}
    server.post(URL, json=body)
    given = []
    for now in (0, 1, 300):
        printer.runs_at(key, now)
        given.append(json.loads(b"".join(upstream.send(make_call("m"))))["echo"])
    sent = [call.request.headers["Authorization"] for call in server.calls]
    assert sent == [f"Bearer {word}-token-of-all" for word in ("first", "first", "second")]
    assert given == [
        "[redacted] second-token-of-all",
        "[redacted] second-token-of-all",
        "first-token-of-all [redacted]",
    ]


def test_a_key_that_the_upstream_refuses_is_renewed(
    server: responses.RequestsMock, upstream: HttpUpstream
) -> None:
    printer = Printer(PrintedKey("first"), PrintedKey("second"))
    upstream.renewed_key = key = printer.key()
    printer.runs_at(key, 0)
    server.post(URL, status=401, json={"error": {"message": "expired"}})
    with pytest.raises(UpstreamAuthFailed):
        upstream.send(make_call("m"))
    assert printer.runs_at(key, AFTER_REFUSAL)
