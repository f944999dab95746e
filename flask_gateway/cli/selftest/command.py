"""Runs the chosen scenarios in parallel, prints a line for each as it ends, and then the scorecard."""

from __future__ import annotations

import io
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stderr
from typing import TextIO

from ...config.errors import one_line
from ...config.load import load
from ...config.schema import Settings
from ...model.errors import UnknownModel
from ..command import EX_CONFIG, FOUND, OK, USAGE, Command, add_config, add_json, print_json
from ..terminal import ProgressLine
from .client import Api
from .harness import RunOptions, first_model, route_of
from .scenarios import SCENARIOS, Result, Scenario
from .verdicts import Finding, Judgement

#: The length of a second in a fast run, seconds.
FAST = 1 / 15
#: Scenarios in parallel. They spend their time waiting, but a fast run must not wait for the processor.
AT_ONCE = 8


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="run 15 times as fast: seconds, not minutes")
    parser.add_argument(
        "--whole", action="store_true", help="ask for buffered streams; then every scenario must pass"
    )
    parser.add_argument(
        "--api",
        "--dialect",
        choices=[str(api) for api in Api],
        default=str(Api.CHAT),
        help="call this (default: chat/completions)",
    )
    parser.add_argument("--only", metavar="S08,S13", default="", help="run only these scenarios")
    parser.add_argument("--model", metavar="NAME", help="test the route of this model (default: the first)")
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Run fault scenarios between the gateway with its settings and fake upstreams."""
    try:
        play, scenarios = choose(arguments, load(environ))
    except ValueError as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return USAGE
    return run(play, scenarios, arguments.json)


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
    play = RunOptions(settings, model, route, scale, arguments.whole, Api(arguments.api))
    return play, _chosen([name for name in arguments.only.split(",") if name])


def _chosen(ids: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios with these ids; all when there are no ids."""
    known = {scenario.id: scenario for scenario in SCENARIOS}
    wrong = [name for name in ids if name not in known]
    if wrong:
        raise ValueError(f"--only {','.join(wrong)}: expected some of {','.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(ids)) if ids else SCENARIOS


def run(play: RunOptions, scenarios: Sequence[Scenario], as_json: bool = False) -> int:
    """Run the scenarios, print each result as it comes, and return the exit status."""
    if not as_json:
        print(heading(play), flush=True)
    results = []
    # An interrupt may kill running scenarios: nothing of them outlives the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with ProgressLine("scenarios", len(scenarios)) as progress, redirect_stderr(_Quiet(sys.stderr)):
        for result in _results(play, scenarios):
            results.append(result)
            progress.step()
            if not as_json:
                print(line(result), flush=True)
    if as_json:
        print_json({"model": play.model, "scenarios": [document(result) for result in results]})
    else:
        print(scorecard([result.finding for result in results]))
    return exit_status(results)


def document(result: Result) -> dict[str, object]:
    """One result of ``--json``."""
    return {
        "id": result.id,
        "title": result.title,
        "verdict": result.finding.verdict.name,
        "why": result.finding.why,
        "seconds": round(result.seconds, 3),
        "attempts": result.ledger,
    }


def _results(play: RunOptions, scenarios: Iterable[Scenario]) -> Iterator[Result]:
    # The longest scenario starts first.
    ordered = sorted(scenarios, key=lambda scenario: scenario.id != "S15")
    with ThreadPoolExecutor(AT_ONCE, "selftest") as pool:
        for future in as_completed([pool.submit(scenario.play, play) for scenario in ordered]):
            yield future.result()


def heading(play: RunOptions) -> str:
    text = f"The route of {play.model!r} ({' > '.join(play.route)})"
    text += "" if play.api is Api.CHAT else f", in {play.api}"
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
    return FOUND if any(result.enough < result.finding.verdict for result in results) else OK


class _Quiet(io.TextIOBase):
    """Standard error without the gateway's access log: these requests are not real."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        if not text.startswith('{"time":'):
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        if not self._out.closed:  # the garbage collector closes this object, perhaps after the stream
            self._out.flush()


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway selftest --fast", "all scenarios on the first model's route, in about ten seconds"),
        ("flask-gateway selftest --only S08,S13 --model fast", "two scenarios on the route of fast"),
    ),
    {
        OK: "every scenario has the verdict that it needs",
        FOUND: "a scenario has failed",
        EX_CONFIG: "a setting is invalid",
    },
)
