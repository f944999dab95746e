"""As ``gunicorn.conf.py``, but that a worker says at its end how long the relay's longest turn took: by the
clock, on which others may have had the processor or the interpreter's lock, and of the processor's time."""

import time
from pathlib import Path

exec(Path("gunicorn.conf.py").read_text())
attach = post_fork  # noqa: F821


def post_fork(server, worker):
    attach(server, worker)
    from flask_gateway.relay import Relay

    turn, Relay.most_work = Relay._turn, 0.0

    def timed(relay):
        began = time.thread_time()
        turn(relay)
        relay.most_work = max(relay.most_work, time.thread_time() - began)

    Relay._turn = timed


def worker_exit(server, worker):
    if worker.relay is not None:
        longest, most = 1000 * worker.relay.longest_turn, 1000 * worker.relay.most_work
        worker.log.info("longest turn of %d: %.1f ms, %.1f ms of work", worker.pid, longest, most)
