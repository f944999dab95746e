"""Was that right? Pure: what was expected, what came back, what the providers were asked; a verdict.

The judge knows the one right answer and believes neither headers nor status alone: an answer that looks
complete has to be it, word by word, and the gateway's ledger has to agree with what the providers saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from .client import ClientResponse
from .faults import TEXT, USAGE
from .response_parser import Heard, hear

#: At most two retries.
MOST_ATTEMPTS = 3
#: What the machine itself may take on top of every limit, seconds: it runs all of this at once.
GRACE = 1.0


class Judgement(Enum):
    """From best to worst."""

    #: A complete right answer, or exactly the right error, in time and within the attempts allowed.
    PASS = "pass"  # noqa: S105 - nobody's password
    #: An honest and well-formed error, from which nobody takes a part for the whole.
    SAFE = "safe"
    #: The right thing, but too late or without its papers.
    PARTIAL = "partial"
    #: A lie, a hang, a raw error, or attempts that must not be.
    FAIL = "fail"

    def __lt__(self, other: Judgement) -> bool:
        order = list(Judgement)
        return order.index(self) < order.index(other)


class Finding(msgspec.Struct, frozen=True):
    verdict: Judgement
    why: str = ""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a scenario pass. Times are the run's seconds.

    :param models: who may have answered.
    :param error: the status and the code that are as right as an answer.
    :param hidden: the code of an error that the caller must not see.
    :param primary: how often it may be asked at most. :param fallback: the same.
    :param pause: how long the primary must be left alone after it was asked first.
    :param within: the longest a right answer may take.
    :param slow: who can only have answered after that, however fast the run.
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
    """When the providers were asked, seconds of one clock."""

    primary: tuple[float, ...] = ()
    fallback: tuple[float, ...] = ()

    @property
    def order(self) -> list[str]:
        """Their names in the order in which they were asked."""
        asked = [(at, "primary") for at in self.primary] + [(at, "fallback") for at in self.fallback]
        return [name for _, name in sorted(asked)]


def judge(expected: Expected, answer: ClientResponse, asked: Asked, scale: float = 1.0) -> Finding:
    """:param scale: how long one of the run's seconds is, seconds."""
    heard = hear(answer)
    wrongs = [*heard.flaws, *_lies(expected, answer, heard), *_wrong_attempts(expected, asked, scale)]
    if wrongs:
        return Finding(Judgement.FAIL, wrongs[0])
    if heard.error is not None and not _is_right_error(expected, answer, heard):
        return Finding(Judgement.SAFE, f"an honest error: {heard.error.get('code') or answer.status}")
    if answer.seconds > expected.within * scale + GRACE or heard.model in expected.slow:
        return Finding(Judgement.PARTIAL, f"right, but after {answer.seconds:.1f} s")
    for lack in _lacks(answer, asked):
        return Finding(Judgement.PARTIAL, lack)
    return Finding(Judgement.PASS)


def _lies(expected: Expected, answer: ClientResponse, heard: Heard) -> Iterator[str]:
    if heard.error is not None:
        if heard.error.get("code") == expected.hidden is not None:
            yield f"an error that is about none of the caller's requests: {expected.hidden}"
        if not TEXT.startswith(heard.text):
            yield "words that are no beginning of the answer"
        return
    if heard.text != TEXT:
        yield f"{len(heard.text.split())} words as if they were the {len(TEXT.split())} of the answer"
    if heard.finish != "stop":
        yield f"the finish reason {heard.finish}"
    if heard.model not in expected.models:
        yield f"the model {heard.model}"
    elif heard.usage != USAGE[str(heard.model)] and not answer.streamed:
        yield f"the usage {heard.usage}"


def _wrong_attempts(expected: Expected, asked: Asked, scale: float) -> Iterator[str]:
    primary, fallback = len(asked.primary), len(asked.fallback)
    limits = (primary, expected.primary), (fallback, expected.fallback), (primary + fallback, MOST_ATTEMPTS)
    for who, (times, most) in zip(("the primary", "the fallback", "upstreams"), limits, strict=True):
        if times > most:
            yield f"{who} asked more often than right: {times}, not {most}"
    if primary > 1 and asked.primary[1] - asked.primary[0] < expected.pause * scale:
        yield f"the primary asked again before the {expected.pause:.0f} s that it had asked for were over"


def _is_right_error(expected: Expected, answer: ClientResponse, heard: Heard) -> bool:
    code = heard.error.get("code") if heard.error else None
    return expected.error == (answer.status, code)


def _lacks(answer: ClientResponse, asked: Asked) -> Iterator[str]:
    """Whether the ledger tells what the providers saw. That of a stream goes out before its end."""
    ledger, seen = named(answer.headers.get("x-gateway-attempts", "")), asked.order
    # A stream that begins with a comment had its head sent while the attempts were still to come.
    if not ledger and not answer.body.startswith(b":"):
        yield "no ledger of attempts"
    elif ledger != (seen[: len(ledger)] if answer.streamed else seen):
        yield f"a ledger that is not what the providers saw: {', '.join(seen)}"


def named(ledger: str) -> list[str]:
    """The upstreams of ``primary:503:0.41s, fallback:200:1.02s``, in order."""
    return [entry.strip().partition(":")[0] for entry in ledger.split(",") if entry.strip()]
