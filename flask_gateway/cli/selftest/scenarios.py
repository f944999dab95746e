"""Lists the sixteen scenarios: the providers' behaviour, and the answer that the gateway must give.

Where the fault allows both, some scenarios request a stream and others do not, so both paths are tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from .faults import (
    FOR_EVER,
    PREFIX_REFUSED,
    babbles,
    breaks_off,
    down,
    late,
    no_done,
    once,
    reset,
    silent,
    status,
    well,
    without_prefix,
)
from .harness import Harness, RunOptions
from .runners import OUTAGE, ask_once, sit_out
from .scripted_provider import Behaviour
from .verdicts import Expected, Finding, Judgement

PRIMARY, FALLBACK = frozenset({"primary-model"}), frozenset({"fallback-model"})
TOO_LONG, REFUSED = "context_length_exceeded", "content_policy_violation"


class Result(msgspec.Struct, frozen=True):
    """The result of a scenario. ``ledger``: the attempts that the gateway reported.

    :param enough: the worst verdict that is still acceptable.
    """

    id: str
    title: str
    finding: Finding
    seconds: float
    ledger: str
    enough: Judgement = Judgement.PASS


class Scenario(msgspec.Struct, frozen=True):
    """One fault and the expected answer.

    :param breaks: whether a stream breaks after it has begun. Unless the gateway buffers the stream, an
        explicit error is then the best possible answer.
    """

    id: str
    title: str
    primary: Behaviour
    expected: Expected
    fallback: Behaviour = well
    stream: bool = False
    breaks: bool = False
    plot: Callable[[Harness, Expected], tuple[Finding, str]] = ask_once

    def play(self, play: RunOptions) -> Result:
        with Harness(play, self.primary, self.fallback, stream=self.stream) as stage:
            began = time.monotonic()
            finding, ledger = self.plot(stage, self.expected)
            seconds = time.monotonic() - began
        enough = Judgement.SAFE if self.breaks and not play.whole else Judgement.PASS
        return Result(self.id, self.title, finding, seconds, ledger, enough)


SCENARIOS = (
    Scenario("S01", "429 once, with Retry-After", once(status(429, after=2)), Expected(primary=2, pause=2)),
    Scenario("S02", "429 for ever", status(429), Expected(models=FALLBACK), stream=True),
    Scenario("S03", "500 once", once(status(500)), Expected(models=PRIMARY, primary=2, fallback=0)),
    Scenario("S04", "503 for ever", status(503), Expected(models=FALLBACK, primary=2), stream=True),
    Scenario("S05", "reset before the head, once", once(reset), Expected(primary=2), stream=True),
    Scenario("S06", "accepts and never answers", silent, Expected(models=FALLBACK), stream=True),
    Scenario("S07", "first token after 20 s", late(20), Expected(within=15, slow=PRIMARY), stream=True),
    Scenario(
        "S08", "cut after 40 of 60 tokens", breaks_off(40), Expected(primary=2), stream=True, breaks=True
    ),
    Scenario("S09", "stalls after 20 tokens", breaks_off(20, FOR_EVER), Expected(), stream=True, breaks=True),
    Scenario("S10", "the tenth event is broken JSON", babbles(10), Expected(), stream=True),
    Scenario("S11", "no [DONE]", no_done, Expected(), stream=True),
    Scenario(
        "S12", "400 context too long", status(400, TOO_LONG), Expected(models=FALLBACK, error=(400, TOO_LONG))
    ),
    Scenario(
        "S13",
        "400 content refused",
        status(400, REFUSED),
        Expected(models=FALLBACK, fallback=0, error=(400, REFUSED)),
    ),
    Scenario(
        "S14",
        "cut, and the fallback takes no prefix",
        breaks_off(40),
        Expected(primary=2, fallback=2, hidden=PREFIX_REFUSED),
        fallback=without_prefix,
        stream=True,
        breaks=True,
    ),
    Scenario("S15", "down for 60 s", down(OUTAGE), Expected(primary=2), plot=sit_out),
    Scenario("S16", "503 for ever: who answered", status(503), Expected(models=FALLBACK, primary=2)),
)
