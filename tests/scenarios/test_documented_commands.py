"""Runs the commands and the Python of README and docs/, against a running gateway.

The language of a block says how it is tested. ``sh`` and ``python`` are run. Of ``console`` the command is
run, and the first line of its output is as shown. ``sh elsewhere`` needs root, a network or another
program, and ``test_wheel.py`` runs ``sh from-nothing``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from kit.needs import need
from kit.servers import ROOT, Gateway
from kit.stores import free_port

pytestmark = pytest.mark.live

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {
    "sh", "sh elsewhere", "sh from-nothing", "console", "python", "text", "toml", "json", "yaml", "ini",
}  # fmt: skip
#: A line with one of our commands, or with a program that a reader would run.
COMMAND = re.compile(r"^(\$ )?(flask-gateway|curl|make|pip|export|\.venv/bin/\S+|env/bin/\S+) (?!.*\[--)")
#: Takes the place of the installed command. It stops a gateway once that answers.
PROGRAM = """#!/bin/sh
export PYTHONPATH={root}
[ "$1" = serve ] || exec {python} -m flask_gateway "$@"
{python} -m flask_gateway "$@" & served=$!
curl -sSf --retry 50 --retry-delay 1 --retry-connrefused http://127.0.0.1:{other}/health
kill $served && wait $served
"""
#: Takes the place of make: ``make run`` would serve with the settings of the environment.
MAKE = """#!/bin/sh
[ "$*" = run ] && exec flask-gateway check --quiet
"""


def blocks(document: Path) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return BLOCK.findall(document.read_text())


RUNNABLE = [one for one in DOCUMENTS if {name for name, _ in blocks(one)} & {"sh", "console", "python"}]


#: Documents whose commands need a data directory and an admin's key.
OPERATED = {"keys.md", "money.md"}
ADMIN_KEY = "an-admin-key-of-32-characters-..."


class Shell:
    """Runs blocks in a folder, with our command and the addresses of running gateways in their places."""

    def __init__(self, folder: Path, gateway: Gateway, more: Mapping[str, str]) -> None:
        self._folder = folder
        self._ports = {"8000": str(gateway.port), "8001": str(free_port())}
        programs = folder / "programs"
        programs.mkdir()
        given = {"root": ROOT, "python": sys.executable, "other": self._ports["8001"]}
        for name, script in (("flask-gateway", PROGRAM.format(**given)), ("make", MAKE)):
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        self._env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "GATEWAY_WORKERS": "1",
            "GATEWAY_API_KEYS": gateway.key,
            **more,
        }
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "key.txt").write_text("a-key-that-exists\n")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        text = re.sub(r"127\.0\.0\.1:(8000|8001)\b", lambda m: f"127.0.0.1:{self._ports[m[1]]}", command[-1])
        text = text.replace("/etc/flask-gateway/", "").replace(
            ".venv/bin/python -m flask_gateway", "flask-gateway"
        )
        text = text.replace("/var/backups/", "")
        return subprocess.run(
            [*command[:-1], text], cwd=self.work, env=self._env, capture_output=True, text=True, timeout=120
        )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway as after ``make run``."""
    started = Gateway(tmp_path_factory.mktemp("gateway"), "dev-key", {"GATEWAY_WORKERS": "1"})
    started.secrets.remove("dev-key")  # the warning about it names it
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, str]]]:
    """A gateway with a data directory and an admin, and the variables with which the commands find both."""
    folder = tmp_path_factory.mktemp("operated")
    config = folder / "operated.toml"
    digest = sha256(b"dev-key").hexdigest()
    config.write_text(f'[ledger]\ndata = "data"\n[keys.web]\nsha256 = "{digest}"\n')
    variables = {"GATEWAY_CONFIG": str(config), "GATEWAY_ADMIN_KEY": ADMIN_KEY}
    started = Gateway(folder, "dev-key", {"GATEWAY_WORKERS": "1", **variables})
    started.secrets.remove("dev-key")
    yield started, variables
    started.stop()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_block_says_what_it_is_and_no_command_is_left_out(document: Path) -> None:
    for language, text in blocks(document):
        assert language in LANGUAGES, text
        if language == "text":
            assert not [line for line in text.splitlines() if COMMAND.match(line)], text


@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: path.name)
def test_the_commands_of_the_document_work(
    document: Path, gateway: Gateway, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    need("curl")
    need("openssl")
    server, more = request.getfixturevalue("operated") if document.name in OPERATED else (gateway, {})
    shell = Shell(tmp_path, server, more)
    for language, text in blocks(document):
        if language == "sh":
            done = shell.run("sh", "-euc", text)
        elif language == "console":
            command, shown = commands_and_output(text)
            done = shell.run("sh", "-euc", command)
            assert done.stdout.splitlines()[0] == shown, text
        elif language == "python":
            done = shell.run(sys.executable, "-c", text)
        else:
            continue
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    if (shell.work / "gateway.toml").exists():
        done = shell.run("flask-gateway", "check", "--config", "gateway.toml")
        assert done.returncode == 0, done.stderr


def commands_and_output(text: str) -> tuple[str, str]:
    """The command of a ``console`` block, and the first line of its output."""
    command, rest = re.split(r"(?<!\\)\n", text.removeprefix("$ "), maxsplit=1)
    return command, rest.splitlines()[0]


def test_the_check_finds_a_command_that_is_not_run() -> None:
    assert COMMAND.match("flask-gateway check")
    assert COMMAND.match("$ curl http://127.0.0.1:8000/health")
    assert not COMMAND.match("flask-gateway check [--quiet]")
    assert not COMMAND.match("flask-gateway: GATEWAY_BIND='x': expected an address")
