"""Extends ``gunicorn.conf.py``: at its end each worker logs how long the rounds of its event loop took.

A round lasts from one poll to the next. Of the longest rounds it logs, in milliseconds: the wall time; the
CPU time of the loop's thread and of the process; and how long the thread was runnable without a CPU
(proc_pid_schedstat(5)). While the thread waits for the GIL, another thread of ours holds it. So time without
CPU use of the process belongs to the machine; at most the lesser of wall time and process time is ours.
"""

import gc
import json
import os
import time
from heapq import heappush, heappushpop
from pathlib import Path

exec(Path("gunicorn.conf.py").read_text())
attach = post_fork  # noqa: F821
WORST = 20


class Taken:
    """All rounds of a process."""

    def __init__(self):
        self.number, self.worst, self.longer = 0, [], dict.fromkeys((5, 10, 20, 50, 100), 0)
        self.began, self.ours = None, 0.0
        self.collections = [0.0]

    def waited(self, wait):
        def timed(turns, seconds):
            if self.began is None:
                self.schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
            else:
                self.over(*(now - then for now, then in zip(self.clocks(), self.began, strict=True)))
            wait(turns, seconds)
            self.began = self.clocks()

        return timed

    def clocks(self):
        delay = int(os.pread(self.schedstat, 100, 0).split()[1]) / 1e9
        return time.monotonic(), time.thread_time(), time.process_time(), delay

    def over(self, *took):
        took = [round(1000 * seconds, 1) for seconds in took]
        self.number += 1
        self.ours = max(self.ours, min(took[0], took[2]))
        for limit in self.longer:
            self.longer[limit] += took[0] > limit
        (heappush if len(self.worst) < WORST else heappushpop)(self.worst, took)

    def collected(self, phase, info):
        """The garbage collector holds the GIL all the time."""
        if phase == "start":
            self.collecting = time.monotonic()
        else:
            took = round(1000 * (time.monotonic() - self.collecting), 1)
            self.collections = sorted([*self.collections, took])[-5:]

    def told(self):
        names = ("clock", "thread", "process", "delay")
        return {
            "pid": os.getpid(),
            "turns": self.number,
            "longer, ms": self.longer,
            "ours": self.ours,
            "longest": [dict(zip(names, one, strict=True)) for one in sorted(self.worst, reverse=True)],
            "collections": self.collections,
        }


turns = Taken()


def post_fork(server, worker):
    attach(server, worker)
    from flask_gateway.reactor.fair_poller import FairPoller

    FairPoller.poll = turns.waited(FairPoller.poll)


def post_worker_init(worker):
    gc.callbacks.append(turns.collected)


def worker_exit(server, worker):
    worker.log.info("turns: %s", json.dumps(turns.told()))
