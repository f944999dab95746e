"""Compares the results with the goals: ``make bench ARGS=goals PEERS=1`` measures all that they name.

A goal is a ratio to another server of the same run, or an absolute number.
"""

from __future__ import annotations

from typing import NamedTuple

from .wrk import Numbers

Found = dict[str, dict[str, Numbers]]
#: The gateway with everything on, and with keys alone.
ALL_ON, KEYS = "everything-on", "gateway"


class Goal(NamedTuple):
    """One goal.

    :param what: the measurement. :param number: of the server's numbers.
    :param most: the largest ratio to ``against``, or the largest number if that is empty.
    """

    what: str
    server: str
    number: str
    most: float
    against: str = ""


def _chat(connections: int) -> list[Goal]:
    what = f"chat, short, {connections} connections"
    most = {
        ALL_ON: {"passthrough": 0.40, "litellm": 1 / 25, "sglang-router": 3.0},
        KEYS: {"passthrough": 0.35, "litellm": 1 / 30, "sglang-router": 2.6},
    }
    return [
        Goal(what, server, "cpu_us", ratio, other)
        for server, ratios in most.items()
        for other, ratio in ratios.items()
    ]


GOALS = [
    *_chat(8),
    *_chat(32),
    Goal("streams, 100 at 50/s", ALL_ON, "cpu_us", 1.4, "sglang-router"),
    Goal("streams, 300 at 50/s", ALL_ON, "cpu_us", 1.4, "sglang-router"),
    Goal("streams, 300 at 50/s", ALL_ON, "first_p99_ms", 1.5, "sglang-router"),
    Goal("streams, 200 at 50/s", ALL_ON, "cpu_us", 1.0, "sglang-router"),
    Goal("streams, 1000 at 50/s", ALL_ON, "delay_p50_ms", 5.0),
    Goal("streams, 1000 at 50/s", ALL_ON, "memory_mb", 130.0),
    Goal("memory, idle", ALL_ON, "memory_mb", 100.0),
    Goal("start to first answer", ALL_ON, "seconds", 0.8),
]
#: How much more a prompt of 1 MB may cost than with nginx, µs.
MOST_FOR_A_MEGABYTE = 1500.0


def judged(found: Found) -> list[str]:
    """Each goal with what was measured, as lines of a Markdown table. Goals without figures are left out."""
    lines = [line for goal in GOALS if (line := _judge(goal, found))]
    long, short = (found.get(f"prompts, {size}, 4 connections", {}) for size in ("1 MB", "short"))
    if ALL_ON in long and "nginx" in long:
        more = [long[name]["cpu_us"] - short[name]["cpu_us"] for name in (ALL_ON, "nginx")]
        lines.append(_line("1 MB beyond nginx", ALL_ON, "cpu_us", more[0] - more[1], MOST_FOR_A_MEGABYTE))
    return ["| goal | of | measured | at most | |", "|---|---|---|---|---|", *lines] if lines else []


def _judge(goal: Goal, found: Found) -> str:
    servers = found.get(goal.what, {})
    if goal.server not in servers or (goal.against and goal.against not in servers):
        return ""
    value = servers[goal.server][goal.number]
    number = goal.number
    if goal.against:
        value /= servers[goal.against][goal.number] or 1e-9
        number += f" / {goal.against}"
    return _line(goal.what, goal.server, number, value, goal.most)


def _line(what: str, server: str, number: str, value: float, most: float) -> str:
    verdict = "reached" if value <= most else "missed"
    return f"| {what}: {number} | {server} | {value:.3g} | {most:.3g} | {verdict} |"
