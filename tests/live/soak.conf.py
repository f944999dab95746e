"""As ``gunicorn.conf.py``, but that a worker says at its end how long the relay's longest turn was."""

from pathlib import Path

exec(Path("gunicorn.conf.py").read_text())


def worker_exit(server, worker):
    if worker.relay is not None:
        worker.log.info("longest turn of %d: %.1f ms", worker.pid, 1000 * worker.relay.longest_turn)
