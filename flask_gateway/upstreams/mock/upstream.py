"""``mock://`` upstreams: answer every operation without a server, at a pace that the URL sets.

``mock://local?latency_ms=300&tokens=50&rate=20`` imitates a slow provider on a laptop. ``chat.py`` and its
neighbours write the answers. This module sends them with delays, and breaks them off if the URL says so.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from math import isfinite
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ...config.schema import Timeouts
from ...dialects.error_mapping import error_for
from ...dialects.transcripts import transcript_for
from ...dialects.usage import asking_for_usage
from ...model.call import Call, Operation
from ...model.errors import SEND_AGAIN, UpstreamCut
from ...model.reply import Reply
from ..transport.deadlines import UpstreamAttempt
from . import chat, responses, scores
from .chat import Frame, Speech

#: The body of an answer whose ``status`` the URL sets.
REFUSAL = b'{"error":{"message":"The mock is set to refuse.","type":null,"param":null,"code":"mock_refusal"}}'

DEFAULT_CLOCKS = Timeouts()
#: Longer messages, bytes, choose no options.
LONGEST_ASKED = 1024
NO_MESSAGES = msgspec.Raw()


class Options(msgspec.Struct, frozen=True):
    """The options in the query of a mock URL.

    :param latency_ms: silence before the first byte.
    :param tokens: how much to answer; without it the answer repeats what the user said.
    :param rate: tokens per second; 0 means all at once.
    :param status: fail every call with this HTTP status.
    :param cut_after: break the answer off after this many tokens.
    """

    latency_ms: float = 0.0
    tokens: int | None = None
    rate: float = 0.0
    status: int | None = None
    cut_after: int | None = None


class _Range(msgspec.Struct, frozen=True):
    """The range of an option."""

    kind: Callable[[str], float]
    least: int
    most: int

    def read(self, text: str) -> float:
        value = self.kind(text)
        if not (isfinite(value) and self.least <= value <= self.most):
            raise ValueError(text)
        return value

    def __str__(self) -> str:
        number = "a whole number" if self.kind is int else "a number"
        return f"{number} from {self.least} to {self.most}"


RANGES = {
    "latency_ms": _Range(float, 0, 600_000),
    "tokens": _Range(int, 1, 1_000_000),
    "rate": _Range(float, 0, 1_000_000),
    "status": _Range(int, 400, 599),
    "cut_after": _Range(int, 0, 1_000_000),
}


def read_options(url: str) -> Options:
    """The options in the query of a mock URL.

    :raises ValueError: names the option, the value, and what was expected.
    """
    given: dict[str, float] = {}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in RANGES:
            near = get_close_matches(name, RANGES, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(RANGES)}"
            raise ValueError(f"mock option '{name}' (value '{text}') is unknown: {hint}")
        if name in given:
            raise ValueError(f"mock option '{name}' is given twice, again as '{text}': expected it once")
        try:
            given[name] = RANGES[name].read(text)
        except ValueError:
            raise ValueError(f"mock option '{name}' is '{text}': expected {RANGES[name]}") from None
    return msgspec.convert(given, Options)


#: The most tokens, and the slowest rate, that a caller may choose.
MAX_ASKED_TOKENS, MIN_ASKED_RATE = 100, 10.0


def asked_for(call: Call, default: Options) -> Options:
    """Return the options of a prompt that is a mock URL, such as ``mock://local?tokens=20&rate=40``.

    Only ``tokens`` and ``rate`` are read, within bounds, and only if the upstream's own URL has no options.
    """
    written = memoryview(call.fields.get("messages", NO_MESSAGES))
    if len(written) > LONGEST_ASKED or b"mock://" not in bytes(written) or default != Options():
        return default
    text = chat.last_user_text(call.decoded("messages", LONGEST_ASKED))
    try:
        asked = read_options(text) if text.startswith("mock://") else default
    except ValueError:
        return default
    if asked == default:
        return default
    tokens = MAX_ASKED_TOKENS if asked.tokens is None else asked.tokens
    return Options(tokens=min(tokens, MAX_ASKED_TOKENS), rate=max(asked.rate, MIN_ASKED_RATE))


class MockSource:
    """Sends frames at a fixed rate. One thread reads it; any thread may close or cut it (``Cuttable``).

    There is no socket to shut down. It waits on an event, and never longer than the timeouts allow.
    """

    def __init__(self, frames: Iterator[Frame], options: Options, exchange: UpstreamAttempt) -> None:
        self._frames = frames
        self._rate = options.rate
        self._left = options.cut_after
        self._exchange = exchange
        self._due = time.monotonic() + options.latency_ms / 1000
        self._given_up = threading.Event()
        exchange.connected()
        exchange.hold(_Wait(self._given_up))

    def read(self) -> bytes:
        frame = next(self._frames, None)
        if frame is None:
            return b""
        if self._left is not None and frame.tokens:
            self._left -= frame.tokens
        if self._left is not None and self._left < 0:
            raise self._cut("broke off its answer")
        # Measured from the start and not from the last frame, so that late wake-ups do not add up.
        self._due += frame.tokens / self._rate if self._rate else 0
        self.wait()
        self._exchange.answered()
        return frame.data

    def wait(self) -> None:
        """Sleep until the next bytes are due.

        :raises GatewayError: the attempt was ended, or a timeout expires before.
        """
        self._exchange.check()
        pause, patience = max(0.0, self._due - time.monotonic()), self._exchange.patience
        given_up = self._given_up.wait(min(pause, patience))
        self._exchange.check()
        if given_up:
            raise self._cut("was given up in the middle of its answer")
        if pause > patience:
            raise self._exchange.timed_out()

    def _cut(self, how: str) -> UpstreamCut:
        upstream = self._exchange.upstream
        return UpstreamCut(f"Upstream '{upstream}' {how}. {SEND_AGAIN}", upstream=upstream)

    def release(self) -> None:
        self.close()

    def close(self) -> None:
        self._given_up.set()
        self._exchange.close()


class _Wait(NamedTuple):
    """The event that a reader waits on, as a ``deadlines.Cuttable``."""

    event: threading.Event

    def cut(self) -> None:
        self.event.set()

    def close(self) -> bool:
        return True


class MockUpstream:
    """A service that generates its answers. Shared by all threads; holds no state."""

    def __init__(self, name: str, url: str, clocks: Timeouts = DEFAULT_CLOCKS) -> None:
        self.name = name
        self._options = read_options(url)
        self._clocks = clocks

    def send(self, call: Call) -> Reply:
        asking = asking_for_usage(call)
        transcript = transcript_for(call, self.name, hides_usage=asking is not call)
        exchange = UpstreamAttempt(call, self.name, self._clocks, lambda: transcript.begun)
        options = asked_for(call, self._options)
        source = MockSource(self._frames(asking, options), options, exchange)
        if self._options.status is not None:
            try:
                source.wait()
            finally:
                source.close()
            raise error_for(self._options.status, {}, REFUSAL, self.name)
        return Reply(source, transcript, self.name, call.model, call.epoch_ns(exchange.started))

    def _frames(self, call: Call, options: Options) -> Iterator[Frame]:
        compute = SCORES.get(call.operation)
        if compute:
            return compute(call, secrets.token_hex(12))
        write = STREAMS[call.operation] if call.stream else BODIES[call.operation]
        return write(chat.compose(call, self.name, options.tokens))


Telling = dict[Operation, Callable[[Speech], Iterator[Frame]]]

BODIES: Telling = {
    Operation.CHAT: chat.chat,
    Operation.COMPLETION: chat.completion,
    Operation.RESPONSE: responses.response,
}
STREAMS: Telling = {
    Operation.CHAT: chat.chat_stream,
    Operation.COMPLETION: chat.completion_stream,
    Operation.RESPONSE: responses.response_stream,
}
SCORES: dict[Operation, Callable[[Call, str], Iterator[Frame]]] = {
    Operation.EMBEDDING: scores.embedding,
    Operation.MODERATION: scores.moderation,
    Operation.RERANK: scores.rerank,
}
