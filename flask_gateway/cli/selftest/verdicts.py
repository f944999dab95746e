"""Judges an answer by the expectation, the answer itself and the requests that the providers received.

All functions are pure. The judge knows the only correct answer and trusts neither headers nor status alone.
An answer that looks complete must match word by word. The gateway's list of attempts must match the requests
that the providers received.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from .client import ClientResponse
from .heard import Heard
from .provider_answers import TEXT, USAGE
from .response_parser import hear

#: At most two retries.
MOST_ATTEMPTS = 3
#: Extra time on top of every limit, seconds: one machine runs all scenarios in parallel.
GRACE = 1.0


class Judgement(Enum):
    """From best to worst."""

    #: A complete correct answer, or exactly the expected error, in time and within the allowed attempts.
    PASS = "pass"  # noqa: S105 - not a password
    #: An explicit and well-formed error. No client takes it for a complete answer.
    SAFE = "safe"
    #: The correct answer, but too late or without its headers.
    PARTIAL = "partial"
    #: A wrong answer that looks complete, a hang, a raw error, or forbidden attempts.
    FAIL = "fail"

    def __lt__(self, other: Judgement) -> bool:
        order = list(Judgement)
        return order.index(self) < order.index(other)


class Finding(msgspec.Struct, frozen=True):
    verdict: Judgement
    why: str = ""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions under which a scenario passes. Times are seconds of the run.

    :param models: the models that may answer.
    :param error: the status and the code of an error that is as good as an answer.
    :param hidden: the code of an error that the caller must not see.
    :param primary: the limit of attempts at the primary. :param fallback: at the fallback.
    :param pause: the shortest time between the first two attempts at the primary.
    :param within: the longest time of a correct answer.
    :param slow: the models that can only answer after ``within``, however fast the run.
    """

    models: frozenset[str] = frozenset({"primary-model", "fallback-model"})
    error: tuple[int, str] | None = None
    hidden: str | None = None
    primary: int = 1
    fallback: int = 1
    pause: float = 0.0
    within: float = 30.0
    slow: frozenset[str] = frozenset()


class Asked(msgspec.Struct, frozen=True):
    """The times of the requests that the providers received, seconds of one clock.

    :param model: the caller's name for the model, which a translated answer repeats.
    """

    primary: tuple[float, ...] = ()
    fallback: tuple[float, ...] = ()
    model: str = ""

    @property
    def order(self) -> list[str]:
        """The names of the providers in the order of the requests."""
        asked = [(at, "primary") for at in self.primary] + [(at, "fallback") for at in self.fallback]
        return [name for _, name in sorted(asked)]


def judge(expected: Expected, answer: ClientResponse, asked: Asked, scale: float = 1.0) -> Finding:
    """:param scale: the length of a second of the run, seconds."""
    heard = hear(answer)
    if heard.model == asked.model and asked.order:
        heard.model = f"{asked.order[-1]}-model"
    faults = [*heard.flaws, *_false_content(expected, answer, heard)]
    faults += _wrong_attempts(expected, asked, scale)
    if faults:
        return Finding(Judgement.FAIL, faults[0])
    if heard.error is not None and not _is_right_error(expected, answer, heard):
        return Finding(Judgement.SAFE, f"an explicit error: {heard.error.get('code') or answer.status}")
    if answer.seconds > expected.within * scale + GRACE or heard.model in expected.slow:
        return Finding(Judgement.PARTIAL, f"correct, but after {answer.seconds:.1f} s")
    for lack in _lacks(answer, asked):
        return Finding(Judgement.PARTIAL, lack)
    return Finding(Judgement.PASS)


def _false_content(expected: Expected, answer: ClientResponse, heard: Heard) -> Iterator[str]:
    if heard.error is not None:
        if heard.error.get("code") == expected.hidden is not None:
            yield f"an error about a request that the caller did not make: {expected.hidden}"
        if not TEXT.startswith(heard.text):
            yield "words that are not the beginning of the answer"
        return
    if heard.text != TEXT:
        yield f"{len(heard.text.split())} words that look like the {len(TEXT.split())} of the answer"
    if heard.finish != "stop":
        yield f"the finish reason {heard.finish}"
    if heard.model not in expected.models:
        yield f"the model {heard.model}"
    elif heard.usage != USAGE[str(heard.model)] and not answer.streamed:
        yield f"the usage {heard.usage}"


def _wrong_attempts(expected: Expected, asked: Asked, scale: float) -> Iterator[str]:
    primary, fallback = len(asked.primary), len(asked.fallback)
    limits = (primary, expected.primary), (fallback, expected.fallback), (primary + fallback, MOST_ATTEMPTS)
    for target, (times, most) in zip(("the primary", "the fallback", "upstreams"), limits, strict=True):
        if times > most:
            yield f"too many attempts at {target}: {times}, not {most}"
    if primary > 1 and asked.primary[1] - asked.primary[0] < expected.pause * scale:
        yield f"a retry at the primary before its Retry-After of {expected.pause:.0f} s"


def _is_right_error(expected: Expected, answer: ClientResponse, heard: Heard) -> bool:
    code = heard.error.get("code") if heard.error else None
    return expected.error == (answer.status, code)


def _lacks(answer: ClientResponse, asked: Asked) -> Iterator[str]:
    """Compare the reported attempts with the requests received. A stream reports them before its end."""
    reported, seen = named(answer.headers.get("x-gateway-attempts", "")), asked.order
    # If a stream begins with a ping, its head was sent before the attempts were made.
    if not reported and not answer.body.startswith((b":", b"event: ping")):
        yield "no list of attempts"
    elif reported != (seen[: len(reported)] if answer.streamed else seen):
        yield f"a list of attempts that differs from the requests received: {', '.join(seen)}"


def named(attempts: str) -> list[str]:
    """The upstreams of ``primary:503:0.41s, fallback:200:1.02s``, in order."""
    return [entry.strip().partition(":")[0] for entry in attempts.split(",") if entry.strip()]
