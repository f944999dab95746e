"""Finds upstreams, writes the settings file and the files of secrets, and says what to do next."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...app.preflight import load_checked
from ...config.errors import InvalidValue, one_line
from ...config.options import PREFIX, SERVER
from ...config.upstream_url import base_url
from ...config.value_types import UPSTREAM_NAME, Name
from ..addresses import in_use
from ..command import EX_CONFIG, FOUND, OK, SETTINGS_FILE, Command, add_json, print_json
from ..keys import new_key
from ..serve import curl
from ..terminal import ProgressLine
from . import model_servers
from .model_servers import ModelServer
from .providers import ProviderKey, keys_in
from .settings_file import Upstream, first_model, text

#: The folder of secrets, next to the settings file.
SECRETS = "secrets"
#: The gateway's usual address, and the one to use where that is taken: vLLM has the same.
USUAL, OTHER = "127.0.0.1:8000", "127.0.0.1:8100"


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", default=SETTINGS_FILE, help="the file to make (%(default)s)"
    )
    parser.add_argument(
        "--upstream",
        metavar="NAME=URL",
        action="append",
        type=_named_url,
        default=[],
        help="a further upstream, in front of those that are found",
    )
    parser.add_argument(
        "--key", metavar="NAME", action="append", type=_name, help="a caller (default: first)"
    )
    parser.add_argument(
        "--no-scan", action="store_true", help="do not look for model servers on this machine"
    )
    parser.add_argument("--no-env", action="store_true", help="do not take provider keys of the environment")
    parser.add_argument("--yes", action="store_true", help="do not ask, at a terminal neither")
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    path = Path(arguments.output)
    if os.path.lexists(path):
        return _failed(f"{path} exists and is left as it is; --output names another file")
    with ProgressLine():
        servers = [] if arguments.no_scan else model_servers.find()
    provider_keys = [] if arguments.no_env else list(keys_in(environ))
    upstreams = plan(arguments.upstream, servers, provider_keys)
    notes = [f"{server.url} is left out: {server.note}" for server in servers if server.note]
    if not arguments.json:
        print("\n".join(found(upstreams, notes)), flush=True)
    if not arguments.yes and not arguments.json and sys.stdin.isatty() and not _agreed(path):
        return _failed("nothing was written")
    keys = [(name, new_key()) for name in dict.fromkeys(arguments.key or ["first"])]
    secrets = {f"{SECRETS}/{one.provider}.key": one.key for one in provider_keys}
    try:
        write(path, text(upstreams, keys), secrets)
    except OSError as error:
        return _failed(f"{error.filename or path}: {error.strerror}; nothing was written")
    return _report(arguments, environ, path, upstreams, keys, sorted(secrets))


def plan(
    given: Sequence[tuple[str, str]], servers: Sequence[ModelServer], provider_keys: Sequence[ProviderKey]
) -> list[Upstream]:
    """The upstreams of the new file: given ones, local ones, providers. The first of a name wins."""
    upstreams = [Upstream(name, url, "given") for name, url in given]
    upstreams += [
        Upstream(one.name, one.url, f"found on port {one.port}", one.models, lists=True)
        for one in servers
        if not one.note
    ]
    upstreams += [
        Upstream(
            one.provider,
            one.url,
            f"the key was in ${one.variable}",
            secret=f"{SECRETS}/{one.provider}.key",
            example=one.example,
            kind=one.kind,
        )
        for one in provider_keys
    ]
    return list({one.name: one for one in reversed(upstreams)}.values())[::-1]


def found(upstreams: Sequence[Upstream], notes: Sequence[str]) -> Iterator[str]:
    """Say what will be in the file."""
    yield "Found" if upstreams else "Found no model server and no provider's key: a mock will answer"
    for one in upstreams:
        models = f"; models: {', '.join(one.models)}" if one.models else ""
        yield one_line(f"  {one.name:<12} {one.url:<40} {one.source}{models}")
    yield from (one_line(f"  {note}") for note in notes)


def write(path: Path, settings: str, secrets: Mapping[str, str]) -> None:
    """Write all files, or none. No file is overwritten.

    :param secrets: by the path relative to the settings file. They get mode 0600, and their folder 0700.
    :raises OSError: a file exists or cannot be written. ``filename`` names it.
    """
    made: list[Path] = []
    try:
        for name, secret in secrets.items():
            place = path.parent / name
            place.parent.mkdir(mode=0o700, exist_ok=True)
            _create(place, f"{secret}\n", 0o600, made)
        _create(path, settings, 0o644, made)
    except OSError:
        for place in made:
            place.unlink(missing_ok=True)
        raise


def _create(path: Path, content: str, mode: int, made: list[Path]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    made.append(path)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)


def _report(
    arguments: Namespace,
    environ: Mapping[str, str],
    path: Path,
    upstreams: Sequence[Upstream],
    keys: Sequence[tuple[str, str]],
    secrets: Sequence[str],
) -> int:
    """Check the new file, show each key once, and say what to do next. Raises :class:`ConfigError`."""
    above = set(winning(environ))
    alone = {name: value for name, value in environ.items() if name not in above}
    resolved = load_checked({**alone, "GATEWAY_CONFIG": str(path)}, [], None)
    model = first_model(upstreams)
    files = [str(path), *(str(path.parent / secret) for secret in secrets)]
    if arguments.json:
        names = [one.name for one in upstreams] or ["mock"]
        print_json({"files": files, "upstreams": names, "keys": dict(keys), "model": model})
        return OK
    print("\n".join(_next(path, files, keys, model)))
    notes = [f"{name} is set in this shell and wins over the file" for name in sorted(above)]
    for warning in (*resolved.settings.warnings, *notes):
        print(one_line(f"flask-gateway: warning: {warning}"), file=sys.stderr)
    return OK


def winning(environ: Mapping[str, str]) -> Iterator[str]:
    """The variables of this environment that win over a settings file."""
    server = {option.variable for option in SERVER}
    return (name for name in environ if name.startswith(PREFIX) and name not in server)


def _next(path: Path, files: Sequence[str], keys: Sequence[tuple[str, str]], model: str) -> Iterator[str]:
    yield f"Wrote {', '.join(files)}"
    for name, key in keys:
        yield f"The key of {name}, shown only now: {key}"
    bind = "" if in_use([USUAL]) is None else f" --bind {OTHER}"
    config = "" if path == Path(SETTINGS_FILE) else f" --config {shlex.quote(str(path))}"
    yield "Next"
    yield f"  flask-gateway serve{config}{bind}"
    yield f"  {curl(f'http://{OTHER if bind else USUAL}', keys[0][1], model)}"


def _agreed(path: Path) -> bool:
    return input(f"Write {path}? [Y/n] ").strip().lower() in ("", "y", "yes")


def _failed(message: str) -> int:
    print(one_line(f"flask-gateway: {message}"), file=sys.stderr)
    return FOUND


def _name(value: str) -> str:
    try:
        return Name(UPSTREAM_NAME).parse(value)
    except InvalidValue as error:
        raise ArgumentTypeError(f"{value!r}: expected {error.expected}") from None


def _named_url(value: str) -> tuple[str, str]:
    name, equals, url = value.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{value!r}: expected NAME=URL, as in llama=http://127.0.0.1:8001")
    try:
        base_url(url)
    except InvalidValue as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise ArgumentTypeError(f"{name}: expected {error.expected}{hint}") from None
    return _name(name), url


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway init", "look for model servers and provider keys, and make gateway.toml"),
        (
            "flask-gateway init --yes --no-scan --upstream llama=http://10.0.0.5:8001 --key web",
            "by options alone",
        ),
    ),
    {
        OK: "the file is written and valid",
        FOUND: "nothing was written: a file exists, or cannot be written",
        EX_CONFIG: "the file is written, but a setting is invalid",
    },
)
