"""Compares a key with limits, a budget and the ledger to the same key before and without them.

``python -m bench.ledger``, about six minutes: all gateways run at the same time and answer in turn, and each
round begins with another one. CPU time is that of the whole process tree, so it has the bookkeeper's too,
half a second behind the last answer included. The median of the rounds' differences counts. An event is
measured twice in each turn: over whole streams, with their openings and ends, and between those.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from . import keys, servers
from .load import cost
from .run import call
from .wrk import chat_body, wrk

#: The last commit before there were ledgers, budgets and limits of tokens.
BEFORE = "acc6239"
OLD, OFF, ON = "the key before", "no ledger", "requests, tokens, a budget, the ledger"
#: How long the bookkeeper has for the last calls of a turn, seconds.
LATER = 0.5
#: Streams of a turn, their events, events a second, and the seconds over which they begin.
STREAMS = (200, 300, 50, 1.0)
#: When all streams of a turn have opened, and for how long none of them ends then, seconds.
OPENED, STEADY = 2.5, 3.5
#: The most that the key may cost more: a chat, µs; an event, and anything without a ledger, as a ratio.
MOST_CHAT, MOST_RATIO = 80.0, 1.02

#: CPU time of each round, µs a call or an event, by gateway.
Rounds = dict[str, list[float]]


@contextmanager
def checkout(commit: str) -> Iterator[Path | None]:
    """The files of a commit; ``None`` where the repository does not have it."""
    packed = subprocess.run(["git", "archive", commit], cwd=servers.ROOT, capture_output=True, check=False)
    if packed.returncode:
        print(f"not compared with {commit}: {packed.stderr.decode().strip()}", file=sys.stderr)
        yield None
        return
    with TemporaryDirectory(prefix="bench-before-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


@contextmanager
def gateways(upstream: str, before: Path | None) -> Iterator[dict[str, tuple[int, str]]]:
    """The gateways, each with its process and its URL."""
    on = keys.KINDS["and a budget: everything on"]
    kinds = {OLD: (keys.Kind(), before), OFF: (keys.Kind(), None), ON: (on, None)}
    with ExitStack() as stack:
        found = {}
        for name, (kind, code) in kinds.items():
            if name != OLD or before is not None:
                port = servers.free_port()
                process = stack.enter_context(keys.gateway(kind, upstream, port, before=code))
                found[name] = process.pid, f"http://127.0.0.1:{port}"
        yield found


def in_turn(rounds: int, ways: dict[str, Callable[[], float]], what: str) -> Rounds:
    found: Rounds = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in names:
            found[name].append(ways[name]())
        names = names[1:] + names[:1]
        latest = ", ".join(f"{name}: {figures[-1]:.1f}" for name, figures in found.items())
        print(f"{what}, round {number + 1}/{rounds}: {latest}", file=sys.stderr, flush=True)
    return found


def spent(pid: int, work: Callable[[], float]) -> float:
    """CPU time of a process tree for each piece of work, µs. :param work: returns how many it has done."""
    before = cost.cpu(pid)
    done = work()
    time.sleep(LATER)
    return (cost.cpu(pid) - before) / max(1.0, done) * 1e6


def chats(url: str, seconds: int) -> float:
    return wrk(url, 8, seconds, chat_body(200))["requests"]


def events(url: str) -> float:
    count, tokens, rate, spread = STREAMS
    seen = call(f"{url}/v1/chat/completions", count, tokens, rate, spread)
    # With the ledger the last chunk has the cost, so it is another than the upstream's.
    if set(seen["verdicts"]) - {"ok", "different"}:
        raise RuntimeError(f"{url}: {seen['verdicts']}")
    return float(seen["events"])


def watched(pid: int, url: str, steady: list[float]) -> float:
    """Stream, and measure the CPU time of an event when all streams have opened and none ends, µs.

    :param steady: gets it. :returns: the events of whole streams.
    """
    count, _, rate, _ = STREAMS
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(events, url)
        time.sleep(OPENED)
        before, began = cost.cpu(pid), time.monotonic()
        time.sleep(STEADY)
        used, took = cost.cpu(pid) - before, time.monotonic() - began
        steady.append(used / (took * count * rate) * 1e6)
        return done.result()


def with_sqlite(pid: int) -> list[int]:
    """The processes of a tree that have loaded SQLite."""
    return [one for one in cost.tree(pid) if "_sqlite3" in Path(f"/proc/{one}/maps").read_text()]


def lines(what: str, found: Rounds) -> Iterator[str]:
    for name, figures in found.items():
        yield f"| {what} | {name} | {min(figures):.1f} | {statistics.median(figures):.1f} |"


def verdict(text: str, figures: Sequence[float], most: float | None, unit: str = "") -> str:
    """A line of the table. :param figures: of each round. :param most: the goal; ``None``: there is none."""
    low, value, high = statistics.quantiles(figures, n=4, method="inclusive")
    goal = "| |" if most is None else f"{most:.3g}{unit} | {'reached' if value <= most else 'missed'} |"
    return f"| {text} | {value:.3g}{unit} | {low:.3g} to {high:.3g} | {goal}"


def verdicts(chat: Rounds, event: Rounds, whole: Rounds) -> Iterator[str]:
    """Each comparison with what was measured. The goals are those against the key before."""
    for other in (one for one in (OLD, OFF) if one in chat):
        more = [on - off for on, off in zip(chat[ON], chat[other], strict=True)]
        goals = (MOST_CHAT, MOST_RATIO) if other == OLD else (None, None)
        yield verdict(f"a chat with all, more than {other}", more, goals[0], " µs")
        yield verdict(f"an event with all, of {other}", ratios(event[ON], event[other]), goals[1])
        yield verdict(f"the same with opening and end, of {other}", ratios(whole[ON], whole[other]), None)
    if OLD in chat:
        yield verdict("a chat without a ledger, of before", ratios(chat[OFF], chat[OLD]), MOST_RATIO)
        yield verdict("an event without a ledger, of before", ratios(event[OFF], event[OLD]), MOST_RATIO)


def of_streams(rounds: int, upstream: str, before: Path | None) -> tuple[Rounds, Rounds]:
    """The cost of an event, between opening and end and with both.

    Each round has new gateways: where a process lies in memory makes it some percent faster or
    slower for all its life.
    """
    steady: Rounds = {}
    whole: Rounds = {}
    for number in range(rounds):
        with gateways(upstream, before) as up:
            names = list(up)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                pid, url = up[name]
                work = partial(watched, pid, url, steady.setdefault(name, []))
                whole.setdefault(name, []).append(spent(pid, work))
        latest = ", ".join(f"{name}: {figures[-1]:.1f}" for name, figures in steady.items())
        print(f"an event, µs, round {number + 1}/{rounds}: {latest}", file=sys.stderr, flush=True)
    return steady, whole


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [this / that for this, that in zip(these, those, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of streams; of chats there are twice as many")
    parser.add_argument("--seconds", type=int, default=2, help="of each turn of chats")
    arguments = parser.parse_args()
    found: dict[str, Rounds] = {}
    with checkout(BEFORE) as before:
        with servers.json_upstream() as upstream, gateways(upstream, before) as up:
            for _, url in up.values():
                chats(url, 2)  # so that no turn pays for the first calls
            ways = {
                name: partial(spent, pid, partial(chats, url, arguments.seconds))
                for name, (pid, url) in up.items()
            }
            found["a chat"] = in_turn(2 * arguments.rounds, ways, "a chat, µs")
            loaded = {name: len(with_sqlite(pid)) for name, (pid, _) in up.items()}
        with servers.stream_upstream() as upstream:
            found["an event"], found["with its opening"] = of_streams(arguments.rounds, upstream, before)
    print("| CPU of the process tree, µs | gateway | least | median |", "|---|---|---|---|", sep="\n")
    for what, rounds in found.items():
        print(*lines(what, rounds), sep="\n")
    print("", "| comparison | median | quartiles | at most | |", "|---|---|---|---|---|", sep="\n")
    print(*verdicts(*found.values()), sep="\n")
    print(verdict("processes without a ledger that loaded SQLite", [loaded[OFF]] * 2, 0))


if __name__ == "__main__":
    main()
