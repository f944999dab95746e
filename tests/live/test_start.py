"""Starting: on wrong settings the server refuses, in one line that says which and why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .servers import ROOT, free_port

pytestmark = pytest.mark.live


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected not to."""
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
        ({"GATEWAY_UPSTREAMS": "a=ftp://x"}, "GATEWAY_UPSTREAMS"),
        ({"GATEWAY_UPSTREAMS": "m=mock://x?tokns=1"}, "did you mean 'tokens'?"),
        ({"GATEWAY_DEFAULT_UPSTREAM": "nope"}, "GATEWAY_DEFAULT_UPSTREAM='nope'"),
        ({"GATEWAY_CONFIG": "/nowhere.toml"}, "GATEWAY_CONFIG='/nowhere.toml'"),
        (
            {"GATEWAY_BIND": "0.0.0.0:8000"},
            "GATEWAY_BIND='0.0.0.0:8000': expected an address of this machine",
        ),
        ({"GATEWAY_STATE": "memory://", "GATEWAY_WORKERS": "2"}, "GATEWAY_STATE='memory://': expected state"),
        ({"GATEWAY_STATE": "files://"}, "GATEWAY_STATE"),
    ],
)
def test_wrong_settings_do_not_start(env: dict[str, str], said: str) -> None:
    ended = start(**env)
    assert ended.returncode == 78
    lines = [line for line in ended.stderr.splitlines() if line.startswith("flask-gateway: ")]
    refusals = [line for line in lines if ": warning: " not in line]
    assert len(refusals) == 1, ended.stderr
    assert said in refusals[0]
    assert "Traceback" not in ended.stderr


def test_a_bind_on_the_command_line_counts_too() -> None:
    ended = start("--bind", "0.0.0.0:8000")
    assert ended.returncode == 78
    assert "GATEWAY_BIND='0.0.0.0:8000'" in ended.stderr


def test_a_secret_is_not_shown() -> None:
    ended = start(GATEWAY_UPSTREAMS="a=http://user:planted-secret@host", GATEWAY_API_KEYS="planted key")
    assert ended.returncode == 78
    assert "planted" not in ended.stderr + ended.stdout
