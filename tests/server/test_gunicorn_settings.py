"""Tests gunicorn's settings. The module replaces standard error, so a process of its own imports it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(script: str, **environ: str) -> Any:
    """Run a script with the module imported as ``g``. Return the JSON that it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "WEB_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import json\nfrom flask_gateway.server import gunicorn_settings as g\n{script}",
        ],
        env={**kept, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_settings_come_from_the_environment_and_what_is_no_number_leaves_the_default() -> None:
    script = "print(json.dumps([g.bind, g.workers, g.threads, g.worker_connections, g.graceful_timeout]))"
    given = run(
        script, GATEWAY_BIND="a:1,b:2", GATEWAY_WORKERS="3", GATEWAY_THREADS="5", GATEWAY_GRACEFUL_SECONDS="x"
    )
    assert given == [["a:1", "b:2"], 3, 5, 5, 30]
    cores = len(os.sched_getaffinity(0))
    assert run(script, WEB_CONCURRENCY="many") == [["127.0.0.1:8000"], cores, 64, 64, 30]


def test_directories_of_servers_that_live_are_left_alone(tmp_path: Path) -> None:
    script = f"""
import os
from types import SimpleNamespace
parent = {str(tmp_path)!r}
living = g._make_metrics_dir(parent, SimpleNamespace(uid=os.geteuid(), gid=os.getegid()))
os.mkdir(parent + "/flask-gateway-metrics-dead")
os.mkdir(parent + "/of-another-program")
g._remove_stale(parent)
print(json.dumps([os.path.basename(living), sorted(os.listdir(parent))]))
"""
    living, left = run(script)
    assert living.startswith("flask-gateway-metrics-")
    assert left == sorted([living, "of-another-program"])


def test_a_new_worker_gets_the_lowest_free_slot_and_no_gauge_of_a_dead_one(tmp_path: Path) -> None:
    for name in ("gauge_live_1.db", "gauge_live_0.db", "counter_1.db", "worker_1.pid"):
        (tmp_path / name).touch()
    script = f"""
from types import SimpleNamespace as N
others = {{1: N(slot=0, age=1, core=None), 2: N(slot=2, age=2, core=None)}}
server = N(WORKERS=others, metrics_dir={str(tmp_path)!r}, cfg=N(workers=2))
worker = N(tmp=N(last_update=lambda: 7.0))
g.pre_fork(server, worker)
print(json.dumps([worker.slot, worker.born]))
"""
    assert run(script, GATEWAY_PIN_WORKERS="off") == [1, 7.0]
    assert {path.name for path in tmp_path.iterdir()} == {"gauge_live_0.db", "counter_1.db"}


def test_options_that_would_be_ignored_stop_the_start() -> None:
    script = """
from types import SimpleNamespace as N
codes = []
for changed in ({}, {"max_requests": 5}, {"preload_app": True}):
    cfg = N(**{**{name: value for name, (value, _, _) in g._NOT_OFFERED.items()}, **changed})
    try:
        g.nworkers_changed(N(cfg=cfg), 2, None)
        codes.append(0)
    except SystemExit as error:
        codes.append(error.code)
print(json.dumps(codes))
"""
    assert run(script) == [0, 78, 78]


def test_a_forked_process_checks_the_settings_and_the_master_imports_nothing_for_it() -> None:
    script = """
import sys
good, usage = g._check(["--quiet", "--config="]), g._check(["--nonsense"])
g.runpy.run_module = lambda *_, **__: [][0]  # the check itself fails
failed = g._check([])
g.runpy.run_module = lambda *_, **__: g.os.kill(g.os.getpid(), 9)
print(json.dumps([good, usage, failed, g._check([]), "flask_gateway.cli" in sys.modules]))
"""
    assert run(script, GATEWAY_API_KEYS="of-this-test-0123456789") == [0, 2, 70, 70, False]
