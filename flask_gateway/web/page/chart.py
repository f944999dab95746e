"""Computes charts as numbers that the templates draw as SVG. Pure: no text of a chart is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from ...telemetry.recent import RequestEntry

#: The size of a chart, in units of its own.
WIDTH, HEIGHT = 360, 90


class Area(NamedTuple):
    """One series of a chart. ``name``: as people say it. ``path``: in the syntax of SVG."""

    name: str
    path: str


class Chart(NamedTuple):
    """Series over time, stacked or as lines. ``top``: the value of the upper edge."""

    areas: tuple[Area, ...]
    top: float


def stacked(series: Mapping[str, Sequence[float]], width: float = WIDTH, height: float = HEIGHT) -> Chart:
    """Bars of one period each, the first series at the bottom."""
    sums = [sum(values) for values in zip(*series.values(), strict=True)]
    top = max(sums, default=0)
    floors, areas = [0.0] * len(sums), []
    for name, values in series.items():
        areas.append(Area(name, _bars(values, floors, top, width, height)))
        floors = [floor + value for floor, value in zip(floors, values, strict=True)]
    return Chart(tuple(areas), top)


def _bars(values: Sequence[float], floors: Sequence[float], top: float, width: float, height: float) -> str:
    path, (begins, across) = [], _columns(len(values), width)
    for begin, value, floor in zip(begins, values, floors, strict=True):
        if value and top:
            tall = f"{value / top * height:.1f}"
            path.append(f"{begin}{height - floor / top * height:.1f}v-{tall}{across}v{tall}z")
    return "".join(path)


@lru_cache(maxsize=8)
def _columns(count: int, width: float) -> tuple[tuple[str, ...], str]:
    """The syntax of SVG for the left edge of each bar, and for its width."""
    wide = width / max(1, count)
    return tuple(f"M{place * wide:.1f} " for place in range(count)), f"h{max(wide - 0.3, 0.7):.1f}"


def lines(
    series: Mapping[str, Sequence[float | None]], width: float = WIDTH, height: float = HEIGHT
) -> Chart:
    """Lines with a gap wherever a value is missing."""
    top = max((value for values in series.values() for value in values if value is not None), default=0.0)
    return Chart(tuple(Area(name, _line(values, top, width, height)) for name, values in series.items()), top)


def _line(values: Sequence[float | None], top: float, width: float, height: float) -> str:
    path, pen = [], "M"
    for middle, value in zip(_middles(len(values), width), values, strict=True):
        if value is None:
            pen = "M"
            continue
        tall = height - value / (top or 1.0) * (height - 2) - 1
        # A single point between gaps is drawn as a short stroke.
        path.append(f"{pen}{middle}{tall:.1f}" + ("h0.8" if pen == "M" else ""))
        pen = "L"
    return "".join(path)


@lru_cache(maxsize=8)
def _middles(count: int, width: float) -> tuple[str, ...]:
    """The middle of each period, in the syntax of SVG."""
    wide = width / max(1, count)
    return tuple(f"{(place + 0.5) * wide:.1f} " for place in range(count))


class Step(NamedTuple):
    """A row of a waterfall: an attempt, or the gateway's own time. Times in seconds since the arrival.

    :param x: where its bar begins. :param width: of the bar; both of :data:`WIDTH`.
    :param committed: where the answer began for the caller; ``None``: it did not in this row.
    """

    name: str
    model: str | None
    result: str
    at: float
    seconds: float
    x: float
    width: float
    committed: float | None = None

    @property
    def is_good(self) -> bool:
        return self.result == "200"


def waterfall(entry: RequestEntry, width: float = WIDTH) -> list[Step]:
    """The attempts of a request in the order in which they began, on one scale of time."""
    scale = width / max(entry.seconds, *(one.at + one.seconds for one in entry.attempts), 1e-6)
    steps = [_step("gateway", None, str(entry.status), 0.0, entry.seconds, scale)] if entry.attempts else []
    for number, one in enumerate(entry.attempts, 1):
        answered = one.result == "200" and number == len(entry.attempts)
        # The attempt that answered goes on until the end of the answer.
        seconds = max(entry.seconds - one.at, one.seconds) if answered else one.seconds
        step = _step(one.upstream, one.model, one.result, one.at, seconds, scale)
        committed = one.at + one.seconds if entry.first_byte is None else entry.first_byte
        steps.append(step._replace(committed=committed * scale) if answered else step)
    return steps


def _step(name: str, model: str | None, result: str, at: float, seconds: float, scale: float) -> Step:
    return Step(name, model, result, at, seconds, round(at * scale, 2), round(max(seconds * scale, 1.0), 2))


class Strip(NamedTuple):
    """Bars of calls in the syntax of SVG: of those that went well, and of the others."""

    good: str
    bad: str


def strip(calls: Sequence[tuple[float, bool]]) -> Strip:
    """Bars of the last calls, the newest at the right; the taller, the longer it took, 4 to 24.

    :param calls: seconds and whether it went well.
    """
    longest = max((seconds for seconds, _ in calls), default=0) or 1.0
    bars: tuple[list[str], list[str]] = [], []
    for place, (seconds, good) in enumerate(calls):
        bars[good].append(_bar(place, round(4 + 20 * seconds / longest)))
    return Strip("".join(bars[True]), "".join(bars[False]))


@lru_cache(maxsize=2048)
def _bar(place: int, tall: int) -> str:
    return f"M{5 * place} 24v-{tall}h4V24z"
