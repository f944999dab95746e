"""Defines the behaviours of the scripted providers: answer correctly, or fail as ``scenarios.py`` requires.

Both providers send the same text, so a repeated or missing word is detected.
"""

from __future__ import annotations

import json
import math
import time

from .message_answers import STOP
from .provider_answers import TEXT, TOKENS, answers_of
from .scripted_answers import DONE
from .scripted_provider import Behaviour, ProviderExchange

#: The code of a refusal that no caller may see, because it concerns a request that the gateway made.
PREFIX_REFUSED = "assistant_prefix_not_supported"

#: Longer than any timeout, seconds.
FOR_EVER = 600.0


# ---------------------------------------------------------------- correct answers


def well(exchange: ProviderExchange) -> None:
    """Send the correct answer, whole or streamed; with a prefix in the request, only the rest of it."""
    if exchange.stream:
        exchange.begin()
        _play(exchange, _events(exchange, _rest(exchange)))
    else:
        exchange.answer(200, answers_of(exchange).body(exchange, _rest(exchange)))


def _rest(exchange: ProviderExchange) -> tuple[str, ...]:
    """The tokens that follow the prefix in the request."""
    prefix = _prefix(exchange)
    if not TEXT.startswith(prefix):
        return TOKENS
    rest = TEXT[len(prefix) :]
    return tuple(word + " " for word in rest.split())


def _prefix(exchange: ProviderExchange) -> str:
    """The partial answer in the request; empty when there is none."""
    messages = exchange.request.json.get("messages") or [{}]
    last = messages[-1]
    return str(last.get("content") or "") if last.get("role") == "assistant" else ""


def _events(exchange: ProviderExchange, tokens: tuple[str, ...] = TOKENS) -> list[bytes]:
    """All events of a stream."""
    answers = answers_of(exchange)
    return [*answers.beginning(exchange, tokens), *answers.ending(exchange, tokens)]


def _play(exchange: ProviderExchange, events: list[bytes]) -> None:
    for data in events:
        exchange.write(data)
    exchange.end()


# ---------------------------------------------------------------- faults before the answer


def status(code: int, kind: str | None = None, after: float | None = None) -> Behaviour:
    """Answer with an error in OpenAI's envelope.

    :param kind: its ``code``. :param after: its Retry-After, in seconds of the run.
    """

    def behave(exchange: ProviderExchange) -> None:
        error = {"message": f"Selftest {code}.", "type": "selftest", "param": None, "code": kind}
        exchange.answer(
            code, json.dumps({"error": error}).encode(), headers=_pause(after, exchange.provider.scale)
        )

    return behave


def _pause(after: float | None, scale: float) -> str:
    if after is None:
        return ""
    seconds = after * scale
    return f"Retry-After: {math.ceil(seconds)}\r\nretry-after-ms: {seconds * 1000:.0f}\r\n"


def once(bad: Behaviour) -> Behaviour:
    """Fail the first time, then answer correctly."""
    return lambda exchange: (well if exchange.number else bad)(exchange)


def reset(exchange: ProviderExchange) -> None:
    exchange.hang_up("reset")


def silent(exchange: ProviderExchange) -> None:
    exchange.wait(FOR_EVER)
    exchange.hang_up()


def down(seconds: float) -> Behaviour:
    """Reset connections for this many seconds of the run, then answer correctly."""

    def behave(exchange: ProviderExchange) -> None:
        provider = exchange.provider
        if time.monotonic() < provider.started + seconds * provider.scale:
            exchange.hang_up("reset")
        else:
            well(exchange)

    return behave


def without_prefix(exchange: ProviderExchange) -> None:
    """Answer correctly, but refuse to resume a partial answer, as many providers do."""
    if _prefix(exchange):
        status(400, PREFIX_REFUSED)(exchange)
    else:
        well(exchange)


# ---------------------------------------------------------------- faults in the middle of a stream


def late(seconds: float) -> Behaviour:
    """Send the head at once and the first token much later."""

    def behave(exchange: ProviderExchange) -> None:
        exchange.begin()
        exchange.wait(seconds)
        _play(exchange, _events(exchange))

    return behave


def breaks_off(tokens: int, silence: float = 0.0) -> Behaviour:
    """Send some tokens, perhaps stall, and close the connection without an end."""

    def behave(exchange: ProviderExchange) -> None:
        exchange.begin()
        for data in answers_of(exchange).beginning(exchange, TOKENS[:tokens]):
            exchange.write(data)
        exchange.wait(silence)
        exchange.hang_up()

    return behave


def babbles(at: int) -> Behaviour:
    """Insert one event with broken JSON into a correct stream."""

    def behave(exchange: ProviderExchange) -> None:
        events = _events(exchange)
        # Half of the next event, up to the middle of its word. Dropped, nothing is missing; passed on, it
        # breaks the caller's parser.
        half, _, _ = events[at - 1].partition(b"ord")
        events.insert(at - 1, half + b"\n\n")
        exchange.begin()
        _play(exchange, events)

    return behave


def no_done(exchange: ProviderExchange) -> None:
    """Send the whole answer and its finish reason, but no ``[DONE]``, or no ``message_stop``."""
    exchange.begin()
    _play(exchange, [event for event in _events(exchange) if event not in (DONE, STOP)])
