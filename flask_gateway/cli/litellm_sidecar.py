"""``litellm-sidecar``: serves LiteLLM's SDK in a process of its own, which gunicorn watches."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from ..sidecar.application import SECRET
from .command import EX_CONFIG, OK, Command

_APPLICATION = "flask_gateway.sidecar.application:from_environment()"

#: Replaces this process by the server, so that signals reach it.
_become: Callable[[str, list[str], dict[str, str]], object] = os.execve


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="unix:/run/flask-gateway-litellm/socket",
        help="a Unix socket or a loopback address (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=16, metavar="N", help="calls at once (default: 16)")


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    if trouble := _trouble(arguments.bind, environ):
        print(f"flask-gateway: {trouble}", file=sys.stderr)
        return EX_CONFIG
    command = command_of(arguments.bind, arguments.threads)
    _become(command[0], command, dict(environ))
    return OK


def _trouble(bind: str, environ: Mapping[str, str]) -> str:
    """Why the sidecar cannot start; empty if it can."""
    if len(environ.get(SECRET, "")) < 16:
        return f"{SECRET}: expected a secret of at least 16 characters, which the gateway sends, too"
    if not bind.startswith(("unix:", "127.0.0.1:", "[::1]:", "localhost:")):
        return f"--bind {bind}: expected a Unix socket or a loopback address"
    if find_spec("litellm") is None:
        return "litellm is not installed: use pip install 'flask-llm-gateway[litellm]' in its own environment"
    return ""


def command_of(bind: str, threads: int) -> list[str]:
    """The command line of the server: one worker, which gunicorn's master starts again if it ends."""
    server = [sys.executable, "-m", "gunicorn", "--bind", bind, "--workers", "1", "--threads", str(threads)]
    options = ["--worker-class", "gthread", "--timeout", "60", "--umask", "0o007", "--no-control-socket"]
    return [*server, *options, _APPLICATION]


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway litellm-sidecar", "serve on the socket of the systemd unit"),
        ("flask-gateway litellm-sidecar --bind 127.0.0.1:4001", "serve on a port of this machine"),
    ),
    {OK: "ended", EX_CONFIG: "the secret or LiteLLM is missing, or the address is public"},
)
