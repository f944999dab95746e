"""How a scenario goes: one request, or an outage with many. Each returns its finding and what was tried."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .harness import Harness
from .verdicts import GRACE, Expected, Finding, Judgement, judge, named

#: The outage, in the run's seconds: how long, and how often and how many times somebody asks meanwhile.
OUTAGE, APART, REQUESTS = 60.0, 4.0, 20
#: The most attempts at an upstream that is down.
MOST_IN_OUTAGE = 6
#: How soon it must be used again once it may be tried, in the run's seconds.
BACK_WITHIN = 5.0
#: An opening that follows a failed probe is twice as long as the one before, up to so many seconds unless
#: the first was longer; and with jitter by so much longer still.
LONGEST, JITTER = 60.0, 1.2


def ask_once(stage: Harness, expected: Expected) -> tuple[Finding, str]:
    answer, asked = stage.ask()
    told = answer.headers.get("x-gateway-attempts", "")
    if named(told) != asked.order:
        told = f"{told or 'none told'} (seen: {', '.join(asked.order) or 'none'})"
    return judge(expected, answer, asked, stage.play.scale), told


def sit_out(stage: Harness, expected: Expected) -> tuple[Finding, str]:
    """Ask through the outage, and go on until the primary is back, or ought to be."""
    scale, primary = stage.play.scale, stage.primary
    settings = stage.play.settings
    breaker = settings.circuit_breaker_max_failures, settings.circuit_breaker_reset_seconds * scale
    up_at = primary.started + OUTAGE * scale
    findings, told = [], [(0.0, up_at)]

    def ask() -> None:
        findings.append(judge(expected, *stage.ask(), scale))
        told.append((time.monotonic(), time.monotonic() + stage.primary_left_alone()))

    for number in range(REQUESTS):
        _sleep_until(primary.started + number * APART * scale)
        ask()
    while not (back := [at for at in primary.asked if at >= up_at]):
        if time.monotonic() > allowed_at(primary.asked, up_at, *breaker) + BACK_WITHIN * scale + GRACE:
            break
        time.sleep(scale)
        ask()
    tries = sum(at < up_at for at in primary.asked)
    late = None
    if back:
        # What the gateway itself said last, but no later than is right.
        said_at = [until for at, until in told if at < back[0]][-1]
        late = back[0] - max(up_at, min(said_at, allowed_at(primary.asked, up_at, *breaker)))
    finding = judge_outage(findings, tries, None if late is None else late - GRACE, scale)
    said = "never back" if late is None else f"back {max(0.0, late):.1f} s after it might be"
    return finding, f"primary: {tries} in the outage, {said}; {len(findings)} requests"


def judge_outage(findings: Sequence[Finding], tries: int, late: float | None, scale: float) -> Finding:
    """The worst that anybody met, and how the primary was treated.

    :param tries: attempts at it while it was down.
    :param late: how long after it might be tried it was, seconds; ``None``: not at all.
    """
    worst = max(findings, key=lambda finding: finding.verdict)
    if worst.verdict is Judgement.FAIL:
        return worst
    if tries > MOST_IN_OUTAGE:
        return Finding(
            Judgement.FAIL, f"{tries} attempts at an upstream that was down, more than {MOST_IN_OUTAGE}"
        )
    if late is None or late > BACK_WITHIN * scale:
        return Finding(Judgement.FAIL, f"the primary was not used again within {BACK_WITHIN:.0f} s")
    return worst


def allowed_at(asked: Sequence[float], up_at: float, max_failures: int, reset: float) -> float:
    """When the primary must be tried, and be found well: at the latest one opening after the last failure."""
    failed = [at for at in asked if at < up_at]
    probes = len(failed) - max_failures
    if probes < 0:
        return up_at
    opening = min(reset * 2**probes, max(reset, LONGEST)) * JITTER if probes else reset
    return max(up_at, failed[-1] + opening)


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))
