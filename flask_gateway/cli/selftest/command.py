"""The run: which scenarios, all at once, a line for each as it ends, and the scorecard."""

from __future__ import annotations

import io
import signal
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stderr
from typing import TextIO

from ...config.schema import Settings
from ...model.errors import UnknownModel
from .harness import RunOptions, first_model, route_of
from .scenarios import SCENARIOS, Result, Scenario
from .verdicts import Finding, Judgement

#: One second of a fast run, seconds.
FAST = 1 / 15
#: Scenarios at a time: they mostly wait, but a fast run must not wait for the processor.
AT_ONCE = 8


def choose(arguments: Namespace, settings: Settings) -> tuple[RunOptions, tuple[Scenario, ...]]:
    """What to play, and how. ``ValueError``: something is named that does not exist."""
    model = first_model(settings) if arguments.model is None else arguments.model
    try:
        route = route_of(settings, model)
    except UnknownModel:
        raise ValueError(f"--model {model}: expected a model that has a route") from None
    scale = FAST if arguments.fast else 1.0
    play = RunOptions(settings, model, route, scale, arguments.whole)
    return play, _chosen([one for one in arguments.only.split(",") if one])


def _chosen(ids: Sequence[str]) -> tuple[Scenario, ...]:
    """Those scenarios; all when none is named."""
    known = {scenario.id: scenario for scenario in SCENARIOS}
    wrong = [one for one in ids if one not in known]
    if wrong:
        raise ValueError(f"--only {','.join(wrong)}: expected some of {','.join(known)}")
    return tuple(known[one] for one in dict.fromkeys(ids)) if ids else SCENARIOS


def run(play: RunOptions, scenarios: Iterable[Scenario]) -> int:
    """Play them, tell of each as it ends, and return the exit status."""
    print(heading(play), flush=True)
    results = []
    # An interrupt need not wait for what is being played: nothing of it outlives the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with redirect_stderr(_Quiet(sys.stderr)):
        for result in _played(play, scenarios):
            results.append(result)
            print(line(result), flush=True)
    print(scorecard([result.finding for result in results]))
    return exit_status(results)


def _played(play: RunOptions, scenarios: Iterable[Scenario]) -> Iterator[Result]:
    # The one that takes longest begins first.
    ordered = sorted(scenarios, key=lambda scenario: scenario.id != "S15")
    with ThreadPoolExecutor(AT_ONCE, "selftest") as pool:
        for future in as_completed([pool.submit(scenario.play, play) for scenario in ordered]):
            yield future.result()


def heading(play: RunOptions) -> str:
    said = f"The route of {play.model!r} ({' > '.join(play.route)})"
    said += "" if play.scale == 1 else f", {1 / play.scale:.0f} times as fast"
    said += ", streams in one piece." if play.whole else "."
    if len(play.route) == 1:
        said += "\nIt has no second upstream, without which nothing fails over: one is lent to it."
    return said


def line(result: Result) -> str:
    finding = result.finding
    why = f"  {finding.why}" if finding.why else ""
    verdict, seconds = finding.verdict.name, f"{result.seconds:.2f} s"
    return f"{result.id}  {result.title:<37}  {verdict:<7}  {seconds:>8}  {result.ledger}{why}"


def scorecard(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Judgement)


def exit_status(results: Iterable[Result]) -> int:
    """0 when every scenario is as it should be."""
    return int(any(result.enough < result.finding.verdict for result in results))


class _Quiet(io.TextIOBase):
    """Standard error without the gateway's line per request: these requests are none of anybody's."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        if not text.startswith('{"time":'):
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        self._out.flush()
