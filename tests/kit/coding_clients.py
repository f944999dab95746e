"""Runs the command-line clients that `make clients` has installed, each with its own home and a fake key."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from kit.gateways import KEY

#: Where `make clients` installs them.
INSTALLED = Path(__file__).parents[2] / ".clients"
_MODULES = INSTALLED / "node_modules"
CLAUDE = _MODULES / "@anthropic-ai/claude-code-linux-x64/claude"
CODEX = _MODULES / "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
#: How long a turn may take, seconds.
PATIENCE = 120.0


class Ran(NamedTuple):
    """The result of one run of a client.

    :param began: seconds of ``time.monotonic()`` when it was started.
    """

    status: int
    output: str
    errors: str
    began: float
    seconds: float


def run(program: Path, arguments: list[str], home: Path, env: Mapping[str, str]) -> Ran:
    """Run a client in its home, without anything of this process's environment but the path."""
    if not program.exists():
        pytest.fail(f"{program} is not installed: `make clients` does that")
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done = subprocess.run(
        [str(program), *arguments],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr, began, time.monotonic() - began)


def claude(url: str, home: Path, prompt: str, model: str) -> Ran:
    env = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_SMALL_FAST_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    options = ["--output-format", "json", "--permission-mode", "bypassPermissions"]
    return run(CLAUDE, ["-p", prompt, *options], home, env)


def answer_of_claude(ran: Ran) -> str:
    """The last text of a turn."""
    try:
        return str(json.loads(ran.output)["result"])
    except (ValueError, KeyError):
        pytest.fail(f"{ran.status}: {ran.output[-2000:]}\n{ran.errors[-2000:]}")


def codex(url: str, home: Path, prompt: str, model: str, *, websockets: bool = False) -> Ran:
    """Run one turn of Codex.

    :param websockets: whether it asks for a WebSocket first, as it does at OpenAI.
    """
    folder = home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "gateway"\n[model_providers.gateway]\nname = "gateway"\n'
        f'base_url = "{url}/v1"\nenv_key = "GATEWAY_KEY"\nwire_api = "responses"\n'
        f"supports_websockets = {str(websockets).lower()}\n"
    )
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return run(CODEX, ["exec", *options, prompt], home, {"GATEWAY_KEY": KEY})
