"""Starts with wrong settings: the server refuses, in one line that names the setting and the reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from kit.cpu_affinity import TWO, confined_to, cores_of
from kit.gateways import StartGateway
from kit.servers import ROOT, free_port
from kit.waiting import until

pytestmark = pytest.mark.live
#: More of the same, run by ``make test-long``.
long = partial(pytest.param, marks=pytest.mark.long)


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse."""
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *arguments, "wsgi:app"]
    given = {"PATH": os.environ["PATH"], "GATEWAY_BIND": f"127.0.0.1:{free_port()}", **env}
    return subprocess.run(
        command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"GATEWAY_RATE_LIMIT_PER_MINUTE": "sixty"},
            "GATEWAY_RATE_LIMIT_PER_MINUTE='sixty': expected a whole number",
        ),
        ({"GATEWAY_RATE_LIMIT": "60"}, "did you mean GATEWAY_RATE_LIMIT_PER_MINUTE?"),
        ({"GATEWAY_WORKERS": "two"}, "GATEWAY_WORKERS='two': expected a whole number of processes"),
        long({"GATEWAY_UPSTREAMS": "a=ftp://x"}, "GATEWAY_UPSTREAMS"),
        long({"GATEWAY_UPSTREAMS": "m=mock://x?tokns=1"}, "did you mean 'tokens'?"),
        long({"GATEWAY_DEFAULT_UPSTREAM": "nope"}, "GATEWAY_DEFAULT_UPSTREAM='nope'"),
        ({"GATEWAY_CONFIG": "/nowhere.toml"}, "GATEWAY_CONFIG='/nowhere.toml'"),
        (
            {"GATEWAY_BIND": "0.0.0.0:8000"},
            "GATEWAY_BIND='0.0.0.0:8000': expected an address of this machine",
        ),
        ({"GATEWAY_STATE": "memory://", "GATEWAY_WORKERS": "2"}, "GATEWAY_STATE='memory://': expected state"),
        long({"GATEWAY_STATE": "files://"}, "GATEWAY_STATE"),
        long({"GATEWAY_PIN_WORKERS": "on"}, "GATEWAY_PIN_WORKERS='on': expected auto or off"),
    ],
)
def test_wrong_settings_prevent_the_start(env: dict[str, str], said: str) -> None:
    ended = start(**env)
    assert ended.returncode == 78
    lines = [line for line in ended.stderr.splitlines() if line.startswith("flask-gateway: ")]
    refusals = [line for line in lines if ": warning: " not in line]
    assert len(refusals) == 1, ended.stderr
    assert said in refusals[0]
    assert "Traceback" not in ended.stderr


def test_a_bind_on_the_command_line_is_checked_too() -> None:
    ended = start("--bind", "0.0.0.0:8000")
    assert ended.returncode == 78
    assert "GATEWAY_BIND='0.0.0.0:8000'" in ended.stderr


@pytest.mark.parametrize(
    "option",
    [
        "--preload",
        long("--max-requests=100"),
        long("--access-logfile=-"),
        long("--statsd-host=localhost:8125"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(option: str) -> None:
    ended = start(option)
    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"flask-gateway: {option.partition('=')[0]} is not offered: ")


def test_a_secret_is_not_shown() -> None:
    ended = start(GATEWAY_UPSTREAMS="a=http://user:planted-secret@host", GATEWAY_API_KEYS="planted key")
    assert ended.returncode == 78
    assert "planted" not in ended.stderr + ended.stdout


# ---------------------------------------------------------------- CPU cores


needs_two = pytest.mark.skipif(len(TWO) < 2, reason="one core is all there is")


@needs_two
def test_with_a_worker_for_each_core_each_worker_has_its_own_core(start_gateway: StartGateway) -> None:
    with confined_to(TWO):
        gateway = start_gateway()
    each = [{core} for core in sorted(TWO)]
    assert gateway.chat("mock/x").status == 200  # so that serving threads exist
    assert cores_of(gateway) == each
    for _ in range(2):
        victim = gateway.workers[-1]
        os.kill(victim, signal.SIGKILL)
        assert until(lambda victim=victim: len(gateway.workers) == 2 and victim not in gateway.workers)
        assert until(lambda: cores_of(gateway) == each)
    gateway.reload()
    assert until(lambda: cores_of(gateway) == each)


@needs_two
@pytest.mark.parametrize("env", [{"GATEWAY_PIN_WORKERS": "off"}, long({"GATEWAY_WORKERS": "3"})])
def test_otherwise_workers_may_use_all_cores(start_gateway: StartGateway, env: dict[str, str]) -> None:
    with confined_to(TWO):
        gateway = start_gateway(**env)
    assert gateway.chat("mock/x").status == 200
    assert all(cores == TWO for cores in cores_of(gateway))
