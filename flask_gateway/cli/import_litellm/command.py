"""``import``: makes a settings file from a configuration of LiteLLM Proxy."""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...app import build
from ...app.preflight import load_checked
from ...config.errors import ConfigError, one_line
from ...config.file_access import MOST_SETTINGS, read_regular
from ...config.load import Resolved
from ...config.secrets import digest
from ...model.call import Caller
from ...state.memory import MemoryStore
from ..command import LOOK, OK, USAGE, Command, add_json, print_json
from ..terminal import ProgressLine
from .budget_table import BudgetRows
from .cells import UnreadableTable
from .end_users import limits_of_each, read_end_users
from .gateway_toml import Places, gateway_toml
from .includes import with_includes
from .key_table import Known, read_keys
from .plan import NothingToImport, Plan, plan_of, set_prices
from .report import Disposition, Report, lines_of
from .teams import Teams
from .user_teams import UserTeams
from .values import Literal, VariableRef
from .yaml_tree import Line, Node, UnreadableYaml, read_yaml

#: Stand for a key and an address in the check, where the variable is not set.
_ANY_KEY, _ANY_URL = "a-key-for-the-check-alone", "http://127.0.0.1:9"
#: The folder for secrets that stood in the open, next to the settings file.
_FOLDER = "secrets"


class NotImported(Exception):
    """There is no result. The text says why."""


def _arguments(parser: ArgumentParser) -> None:
    sources = parser.add_subparsers(title="sources", metavar="litellm", required=True, dest="source")
    source = sources.add_parser("litellm", help="a config.yaml of LiteLLM Proxy", allow_abbrev=False)
    source.add_argument(
        "file", metavar="CONFIG", help="the config.yaml; it and the files that it includes are read"
    )
    source.add_argument(
        "-o", "--output", metavar="FILE", help="the settings file to make (default: standard output)"
    )
    source.add_argument(
        "--env-out", metavar="FILE", help="put secrets that stand in the open into this file of variables"
    )
    source.add_argument("--keys", metavar="FILE", help="the table LiteLLM_VerificationToken, CSV or JSON")
    source.add_argument("--teams", metavar="FILE", help="the table LiteLLM_TeamTable, CSV or JSON")
    source.add_argument("--budgets", metavar="FILE", help="the table LiteLLM_BudgetTable, CSV or JSON")
    source.add_argument("--users", metavar="FILE", help="the table LiteLLM_UserTable, CSV or JSON")
    source.add_argument("--end-users", metavar="FILE", help="the table LiteLLM_EndUserTable, CSV or JSON")
    source.add_argument(
        "--strict", action="store_true", help="make nothing if a setting changes its meaning or is left out"
    )
    add_json(source)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    try:
        return _import(arguments, environ)
    except NotImported as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return USAGE


def _import(arguments: Namespace, environ: Mapping[str, str]) -> int:
    output = Path(arguments.output) if arguments.output else None
    env_out = Path(arguments.env_out) if arguments.env_out else None
    _refuse_existing([path for path in (output, env_out) if path is not None])
    report = Report()
    plan = _plan(arguments, report)
    places = dict(_places(plan, output, env_out))
    if output is not None:
        _refuse_existing([output.parent / where for suffix, where in places.values() if suffix == "file"])
    text = gateway_toml(plan, places, report, Path(arguments.file).name)
    with ProgressLine():
        checked = _check(text, plan, places, environ)
        routes = list(_routes(checked, plan))
    if arguments.strict and not report.is_complete:
        notes = ["--strict: nothing was made"]
    else:
        _write(output, env_out, text, places)
        notes = list(_notes(checked, plan, places, arguments, environ))
    if arguments.json:
        toml = None if output or arguments.strict else text
        print_json(_document(report, notes, routes, toml))
        return OK if report.is_complete else LOOK
    if output is None and not arguments.strict:
        print(text, end="")
    stream = sys.stdout if output else sys.stderr
    for line in lines_of(report, Path(arguments.file).name, [*notes, *routes]):
        print(one_line(line), file=stream)
    return OK if report.is_complete else LOOK


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise NotImported(f"{path} exists, and nothing is overwritten: name another file")


def _plan(arguments: Namespace, report: Report) -> Plan:
    try:
        with ProgressLine():
            plan = plan_of(_read(Path(arguments.file), report), report)
            now = datetime.now(UTC)
            plan = _with_tables(plan, arguments, now, report)
            set_prices(plan, now.timestamp(), report)
    except NothingToImport as error:
        for line in lines_of(report, Path(arguments.file).name, ()):
            print(one_line(line), file=sys.stderr)
        raise NotImported(f"{arguments.file}: {error}") from None
    except UnreadableYaml as error:
        raise NotImported(f"{arguments.file}: {error}") from None
    return plan


def _with_tables(plan: Plan, arguments: Namespace, now: datetime, report: Report) -> Plan:
    """The plan with the keys, teams and end users of LiteLLM's tables."""
    teams, rows = Teams(report), BudgetRows(report)
    users = UserTeams(teams, report)
    masters = (key.place for key in plan.keys)
    digests = [digest(one.value).hex() for one in masters if isinstance(one, Literal)]
    known = Known(plan.groups, digests, teams, users, rows)
    _table(arguments.budgets, rows.read)
    _table(arguments.teams, teams.read)
    _table(arguments.users, users.read)
    _table(arguments.keys, lambda text, name: plan.keys.extend(read_keys(text, name, known, now, report)))
    if plan.keys:
        _table(
            arguments.end_users,
            lambda text, name: plan.end_users.update(read_end_users(text, name, rows, report)),
        )
    elif arguments.end_users:
        report.left_out(1, "end users", "there is no key: user_limits are of [keys.NAME] or [teams.NAME]")
    plan.teams.extend(teams.all)
    return plan._replace(budgets=limits_of_each(plan.budgets, rows, report))


def _table(path: str | None, read: Callable[[str, str], None]) -> None:
    """Read one of LiteLLM's tables, if it is given.

    :raises NotImported: it cannot be read.
    """
    if path:
        try:
            read(_text(path), Path(path).name)
        except UnreadableTable as error:
            raise NotImported(f"{path}: {error}") from None


def _read(path: Path, report: Report) -> Node:
    """The file with those that it includes, which are relative to its folder."""

    def included(name: str) -> Node:
        return read_yaml(_decoded(read_regular(path.parent / name, MOST_SETTINGS)), name)

    return with_includes(read_yaml(_text(str(path))), path.name, included, report)


def _text(path: str) -> str:
    try:
        content = read_regular(Path(path), MOST_SETTINGS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise NotImported(f"{path} cannot be read: {reason}") from None
    try:
        return _decoded(content)
    except UnicodeDecodeError as error:
        raise NotImported(f"{path} is not text in UTF-8: see byte {error.start}") from None


def _decoded(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


# ---------------------------------------------------------------- secrets


def _places(
    plan: Plan, output: Path | None, env_out: Path | None
) -> Iterator[tuple[Literal, tuple[str, str]]]:
    """Where each secret is kept: in a file next to the settings, or in a variable."""
    taken: set[str] = set()
    in_files = output is not None and env_out is None
    for secret in plan.secrets():
        wanted = secret.variable or _variable_for(plan, secret)
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        as_file = in_files and secret is not plan.state.secret
        yield secret, ("file", f"{_FOLDER}/{name.lower()}") if as_file else ("env", name)


def _variable_for(plan: Plan, secret: Literal) -> str:
    """A variable for a key that stood in the open, by the name of its upstream."""
    names = (upstream.name for upstream in plan.upstreams if upstream.place.key == secret)
    letters = (char if char.isascii() and char.isalnum() else "_" for char in next(names, "key").upper())
    return "KEY_OF_" + "".join(letters)


def _write(output: Path | None, env_out: Path | None, text: str, places: Places) -> None:
    """Write the files. None of them may exist."""
    try:
        for secret, (suffix, where) in places.items():
            if suffix == "file" and output is not None:
                path = output.parent / where
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _create(path, secret.value + "\n", 0o600)
        if env_out is not None:
            lines = (f"{where}={secret.value}\n" for secret, (_, where) in places.items())
            _create(env_out, "".join(lines), 0o600)
        if output is not None:
            _create(output, text, 0o644)
    except OSError as error:
        raise NotImported(f"{error.filename} cannot be made: {error.strerror}") from None


def _create(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


# ---------------------------------------------------------------- the check


def _check(text: str, plan: Plan, places: Places, environ: Mapping[str, str]) -> Resolved:
    """Check the settings as ``check`` does, with values for the variables that are not set.

    :raises NotImported: they are invalid, which is a mistake of the import.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.toml"
        path.write_text(text, encoding="utf-8")
        for secret, (suffix, where) in places.items():
            if suffix == "file":
                (path.parent / where).parent.mkdir(exist_ok=True)
                (path.parent / where).write_text(secret.value, encoding="utf-8")
        needed = _needed(plan, places, environ)
        checking = {"GATEWAY_CONFIG": str(path), **needed}
        if find_spec("redis") is None:
            checking["GATEWAY_STATE"] = "shared://"
        try:
            return load_checked(checking, (), 1)
        except ConfigError as error:
            lines = "; ".join(error.lines())
            raise NotImported(f"the result would be refused, which is a mistake here: {lines}") from None


def _needed(plan: Plan, places: Places, environ: Mapping[str, str]) -> dict[str, str]:
    """Every variable that the result reads, with the value of now or one that stands for it."""
    keys = [upstream.place.key for upstream in plan.upstreams] + [key.place for key in plan.keys]
    needed = {
        one.name: f"{_ANY_KEY}-{number}" for number, one in enumerate(keys) if isinstance(one, VariableRef)
    }
    needed |= {where: secret.value for secret, (suffix, where) in places.items() if suffix == "env"}
    needed |= {upstream.place.url_env: _ANY_URL for upstream in plan.upstreams if upstream.place.url_env}
    if plan.state.variable:
        needed[plan.state.variable] = "redis://127.0.0.1:9/0"
    return needed


def _notes(
    checked: Resolved, plan: Plan, places: Places, arguments: Namespace, environ: Mapping[str, str]
) -> Iterator[str]:
    found = checked.settings
    sizes = {"upstream": len(found.upstreams), "model": len(found.models), "key": len(found.keys)}
    counts = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in sizes.items())
    yield f"The result is valid: {counts}."
    yield "Callers change their base URL to http://HOST:8000/v1, and nothing else."
    yield "Keys have no limit of requests, as in LiteLLM: rate_limit_per_minute sets one."
    if plan.found.timeout is None:
        yield "No timeout was set, so 120 s of silence and 600 s for an answer are; LiteLLM waits 6000 s."
    files = [where for suffix, where in places.values() if suffix == "file"]
    if files:
        yield f"Secrets that stood in the open are in files of mode 0600: {', '.join(files)}"
    missing = [name for name in _needed(plan, places, environ) if name not in environ]
    if missing and arguments.env_out:
        yield f"Variables for the server: {arguments.env_out} has those that stood in the open."
    if missing:
        yield f"Not set here, and needed when the gateway starts: {', '.join(sorted(missing))}"
    if plan.state.variable and find_spec("redis") is None:
        yield "Redis needs the extra: pip install 'flask-llm-gateway[redis]'"
    for warning in checked.settings.warnings:
        if "no default" not in warning:
            yield f"check warns: {warning}"


def _routes(checked: Resolved, plan: Plan) -> Iterator[str]:
    """The candidates of each model, tier by tier, as ``explain`` shows them."""
    gateway = build.build(checked.settings, MemoryStore())
    operator = Caller("operator", 0)
    for model in checked.settings.models:
        statuses = gateway.candidates.explain(operator, model.name)
        parts = (f"tier {one.tier} {one.upstream} {one.model}" for one in statuses)
        yield f"explain {model.name}: {', '.join(parts)}"


def _document(report: Report, notes: list[str], routes: list[str], toml: str | None) -> dict[str, Any]:
    lists = {
        verdict.name.lower(): [
            {"line": int(one.line), **_file(one.line), "setting": one.setting, "text": one.text}
            for one in report.of(verdict)
        ]
        for verdict in Disposition
    }
    return {**lists, "notes": [*notes, *routes], **({} if toml is None else {"toml": toml})}


def _file(line: int) -> dict[str, str]:
    return {"file": line.file} if isinstance(line, Line) else {}


_EXAMPLES = (
    (
        "flask-gateway import litellm config.yaml -o gateway.toml",
        "make gateway.toml, and say what became of each line",
    ),
    (
        "flask-gateway import litellm config.yaml -o gateway.toml --keys keys.csv",
        "bring the callers' keys, too: they stay as they are",
    ),
)

COMMAND = Command(
    _arguments,
    _run,
    _EXAMPLES,
    {
        OK: "everything was mapped",
        LOOK: "done, with something to look at",
        USAGE: "wrong usage, or an input that cannot be imported",
    },
    {"litellm": _EXAMPLES},
)
