"""Runs the chosen scenarios in parallel, prints a line for each as it ends, and then the scorecard."""

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

#: The length of a second in a fast run, seconds.
FAST = 1 / 15
#: Scenarios in parallel. They spend their time waiting, but a fast run must not wait for the processor.
AT_ONCE = 8


def choose(arguments: Namespace, settings: Settings) -> tuple[RunOptions, tuple[Scenario, ...]]:
    """Choose the scenarios and the options of the run.

    :raises ValueError: the command line names an unknown model or scenario.
    """
    model = first_model(settings) if arguments.model is None else arguments.model
    try:
        route = route_of(settings, model)
    except UnknownModel:
        raise ValueError(f"--model {model}: expected a model that has a route") from None
    scale = FAST if arguments.fast else 1.0
    play = RunOptions(settings, model, route, scale, arguments.whole)
    return play, _chosen([name for name in arguments.only.split(",") if name])


def _chosen(ids: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios with these ids; all when there are no ids."""
    known = {scenario.id: scenario for scenario in SCENARIOS}
    wrong = [name for name in ids if name not in known]
    if wrong:
        raise ValueError(f"--only {','.join(wrong)}: expected some of {','.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(ids)) if ids else SCENARIOS


def run(play: RunOptions, scenarios: Iterable[Scenario]) -> int:
    """Run the scenarios, print each result as it comes, and return the exit status."""
    print(heading(play), flush=True)
    results = []
    # An interrupt may kill running scenarios: nothing of them outlives the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with redirect_stderr(_Quiet(sys.stderr)):
        for result in _results(play, scenarios):
            results.append(result)
            print(line(result), flush=True)
    print(scorecard([result.finding for result in results]))
    return exit_status(results)


def _results(play: RunOptions, scenarios: Iterable[Scenario]) -> Iterator[Result]:
    # The longest scenario starts first.
    ordered = sorted(scenarios, key=lambda scenario: scenario.id != "S15")
    with ThreadPoolExecutor(AT_ONCE, "selftest") as pool:
        for future in as_completed([pool.submit(scenario.play, play) for scenario in ordered]):
            yield future.result()


def heading(play: RunOptions) -> str:
    text = f"The route of {play.model!r} ({' > '.join(play.route)})"
    text += "" if play.scale == 1 else f", {1 / play.scale:.0f} times as fast"
    text += ", streams buffered." if play.whole else "."
    if len(play.route) == 1:
        text += "\nIt has only one upstream, so it cannot fail over: the selftest adds a second one."
    return text


def line(result: Result) -> str:
    finding = result.finding
    why = f"  {finding.why}" if finding.why else ""
    verdict, seconds = finding.verdict.name, f"{result.seconds:.2f} s"
    return f"{result.id}  {result.title:<37}  {verdict:<7}  {seconds:>8}  {result.ledger}{why}"


def scorecard(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Judgement)


def exit_status(results: Iterable[Result]) -> int:
    """0 when every scenario has at least the verdict that it needs."""
    return int(any(result.enough < result.finding.verdict for result in results))


class _Quiet(io.TextIOBase):
    """Standard error without the gateway's access log: these requests are not real."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        if not text.startswith('{"time":'):
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        self._out.flush()
