"""Runs a scenario with one request, or with many during an outage. Returns the finding and the attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .harness import Harness
from .verdicts import GRACE, Expected, Finding, Judgement, judge, named

#: The outage: its length and the interval of requests in seconds of the run, and the number of requests.
OUTAGE, APART, REQUESTS = 60.0, 4.0, 20
#: The largest number of attempts at an upstream that is down.
MOST_IN_OUTAGE = 6
#: How soon the gateway must use the upstream again once it may, in seconds of the run.
BACK_WITHIN = 5.0
#: After a failed probe the breaker stays open twice as long as before, up to this many seconds (unless the
#: first time was longer); and the largest factor of jitter.
LONGEST, JITTER = 60.0, 1.2


def ask_once(stage: Harness, expected: Expected) -> tuple[Finding, str]:
    answer, asked = stage.ask()
    attempts = answer.headers.get("x-gateway-attempts", "")
    if named(attempts) != asked.order:
        attempts = f"{attempts or 'none reported'} (seen: {', '.join(asked.order) or 'none'})"
    return judge(expected, answer, asked, stage.play.scale), attempts


def sit_out(stage: Harness, expected: Expected) -> tuple[Finding, str]:
    """Send requests during the outage and until the primary is used again, or should be."""
    scale, primary = stage.play.scale, stage.primary
    settings = stage.play.settings
    breaker = settings.circuit_breaker_max_failures, settings.circuit_breaker_reset_seconds * scale
    up_at = primary.started + OUTAGE * scale
    findings, announced = [], [(0.0, up_at)]

    def ask() -> None:
        findings.append(judge(expected, *stage.ask(), scale))
        announced.append((time.monotonic(), time.monotonic() + stage.primary_retry_after()))

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
        # The time that the gateway announced last, but no later than the rule allows.
        due = [until for at, until in announced if at < back[0]][-1]
        late = back[0] - max(up_at, min(due, allowed_at(primary.asked, up_at, *breaker)))
    finding = judge_outage(findings, tries, None if late is None else late - GRACE, scale)
    outcome = "never back" if late is None else f"back {max(0.0, late):.1f} s after it could be"
    return finding, f"primary: {tries} in the outage, {outcome}; {len(findings)} requests"


def judge_outage(findings: Sequence[Finding], tries: int, late: float | None, scale: float) -> Finding:
    """Judge the worst answer and the treatment of the primary.

    :param tries: the attempts at the primary while it was down.
    :param late: the delay from the time it could be used to its first use, seconds; ``None``: never used.
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
    """The latest time of a successful probe: one open period of the breaker after the last failure."""
    failed = [at for at in asked if at < up_at]
    probes = len(failed) - max_failures
    if probes < 0:
        return up_at
    opening = min(reset * 2**probes, max(reset, LONGEST)) * JITTER if probes else reset
    return max(up_at, failed[-1] + opening)


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))
