"""``serve``: checks the settings, says where the gateway answers, and becomes gunicorn."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..app.preflight import load_checked
from ..config.errors import one_line
from ..config.load import Resolved
from ..config.options import API_KEYS
from ..config.secrets import DEV_KEY, DEV_KEY_DIGEST
from ..config.toml_file import read_file
from .addresses import in_use, local_url
from .command import CALLER_KEY, EX_CONFIG, FOUND, OK, Command, add_config, add_json, print_json
from .terminal import ProgressLine, coloured, paint

#: The application, for gunicorn.
APPLICATION = "flask_gateway:create_app()"
#: Variables of other gateways and platforms, and what takes their place here.
FOREIGN = {
    "LITELLM_MASTER_KEY": "callers' keys are tables [keys.NAME]: `flask-gateway keys hash` prints the sha256",
    "CONFIG_FILE_PATH": "the settings file is that of --config or GATEWAY_CONFIG",
    "PORT": "the address is that of --bind or GATEWAY_BIND",
}
#: The longest list of upstreams or keys that is shown.
MOST_SHOWN = 6


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bind", metavar="ADDR", help="addresses to listen on (GATEWAY_BIND, 127.0.0.1:8000)"
    )
    parser.add_argument("--workers", metavar="N", help="worker processes (GATEWAY_WORKERS, one per core)")
    parser.add_argument("--quiet", action="store_true", help="do not say where it answers")
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Replaces this process by gunicorn, so it does not return when it succeeds."""
    environ = with_options(arguments, environ)
    with ProgressLine():
        resolved = load_checked(environ, [], None)
    if (taken := _taken(resolved, environ)) is not None:
        print(one_line(f"flask-gateway: {taken} is in use by another process; {_REMEDY}"), file=sys.stderr)
        return FOUND
    if arguments.json:
        print_json(document(resolved, environ))
    elif not arguments.quiet:
        print("\n".join(banner(resolved, environ, coloured(sys.stdout, environ))), flush=True)
        for note in foreign(environ):
            print(f"flask-gateway: note: {note}", file=sys.stderr)
    return _become(gunicorn_command(), environ)


_REMEDY = "stop it, or choose another address, as in `flask-gateway serve --bind 127.0.0.1:8001`"


def _taken(resolved: Resolved, environ: Mapping[str, str]) -> str | None:
    """The address at which another process listens, if there is one."""
    if environ.get("LISTEN_PID") == str(os.getpid()):
        return None  # systemd has opened the sockets: sd_listen_fds(3)
    return in_use(str(resolved.server["bind"]).split(","))


def _become(command: list[str], environ: Mapping[str, str]) -> NoReturn:
    os.execve(command[0], command, dict(environ))  # noqa: S606 - our own interpreter


def with_options(arguments: Namespace, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of the server: the options of the command line win over it."""
    given = {"GATEWAY_BIND": arguments.bind, "GATEWAY_WORKERS": arguments.workers}
    return {**environ, **{name: value for name, value in given.items() if value is not None}}


def gunicorn_command() -> list[str]:
    """gunicorn with the configuration file of this package.

    A reload reads a path again. ``-c python:MODULE`` would keep the old module. ``-P`` keeps the
    modules of the current directory behind those that are installed, unless this package itself is there.
    """
    package = Path(str(files(__package__.partition(".")[0])))
    configuration = package / "deploy" / "gunicorn.conf.py"
    safe_path = () if package.parent.samefile(os.curdir) else ("-P",)
    return [sys.executable, *safe_path, "-m", "gunicorn", "-c", str(configuration), APPLICATION]


def document(resolved: Resolved, environ: Mapping[str, str]) -> dict[str, object]:
    """The output of ``--json``."""
    url = local_url(str(resolved.server["bind"]))
    return {
        "version": __version__,
        "url": url and f"{url}/v1",
        "settings": environ.get("GATEWAY_CONFIG"),
        "upstreams": [upstream.name for upstream in resolved.settings.upstreams],
        "keys": [key.id for key in resolved.settings.keys],
        "model": first_model(resolved),
    }


def banner(resolved: Resolved, environ: Mapping[str, str], colours: bool) -> Iterator[str]:
    """Say what was found, where the gateway answers, with which key, and what to do next."""
    url = local_url(str(resolved.server["bind"]))
    yield paint(f"Flask Gateway {__version__}", "bold", colours) + f" · {_found(resolved, environ)}"
    shown, in_shell = _key(resolved, environ)
    if url:
        yield f"  API    {url}/v1    key: {shown}"
        yield f"  Try    {curl(url, in_shell, first_model(resolved))}"
    else:
        yield f"  API    {resolved.server['bind']}    key: {shown}"
    if not environ.get("GATEWAY_CONFIG"):
        yield "  Next   flask-gateway init    makes gateway.toml from model servers and keys that it finds"
    yield "  Stop   Ctrl-C"


def foreign(environ: Mapping[str, str]) -> Iterator[str]:
    """Notes on variables of others that are set and have no effect here."""
    path = environ.get("GATEWAY_CONFIG")
    named = set(read_file(path).variables()) if path else set()
    for name, instead in FOREIGN.items():
        if environ.get(name) and name not in named:
            yield f"{name} is not read: {instead}"


def curl(url: str, key: str, model: str) -> str:
    """A command line for a first call. :param key: as a shell reads it between double quotes."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
    quoted = body.replace("'", "'\\''")
    return (
        f'curl {url}/v1/chat/completions -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{quoted}'"
    )


def first_model(resolved: Resolved) -> str:
    """A model that has a route. ``MODEL`` stands for a name that only the upstream knows."""
    settings = resolved.settings
    if settings.models:
        return settings.models[0].name
    if settings.fallbacks:
        return next(iter(settings.fallbacks))
    first = settings.upstreams[0]
    return first.name if first.url.startswith("mock:") else f"{first.name}/MODEL"


def _found(resolved: Resolved, environ: Mapping[str, str]) -> str:
    place = environ.get("GATEWAY_CONFIG") or "no settings file"
    upstreams = resolved.settings.upstreams
    if [upstream.url for upstream in upstreams] == ["mock://local"]:
        return f"{place}: the built-in mock answers"
    return one_line(f"{place}: {_some([upstream.name for upstream in upstreams])}")


def _key(resolved: Resolved, environ: Mapping[str, str]) -> tuple[str, str]:
    """The key to call with: in words, and as a shell finds it."""
    keys = resolved.settings.keys
    if any(key.digest == DEV_KEY_DIGEST for key in keys):
        return f"{DEV_KEY}, for this machine only", DEV_KEY
    if API_KEYS.variable in environ:
        return f"the first in ${API_KEYS.variable}", f"${{{API_KEYS.variable}%%,*}}"
    return f"of {_some([key.id for key in keys])}; put it into ${CALLER_KEY}", f"${CALLER_KEY}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway serve", "answer on http://127.0.0.1:8000; without settings a mock answers"),
        ("flask-gateway serve --config gateway.toml --bind 127.0.0.1:8001 --workers 2", "with settings"),
    ),
    {
        OK: "stopped by a signal",
        FOUND: "the address is in use",
        EX_CONFIG: "a setting is invalid",
    },
)
