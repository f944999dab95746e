"""``explain``: shows which upstreams a call of a model would use, by the settings or by a running gateway."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from ..app import build
from ..config.errors import one_line
from ..config.load import resolve
from ..config.schema import Settings
from ..model.call import Caller
from ..model.errors import UnknownModel
from ..state.memory import MemoryStore
from .command import CALLER_KEY, EX_CONFIG, FOUND, OK, Command, add_config, add_json, print_json
from .running_gateway import NotAnswered, request
from .terminal import ProgressLine

#: The end of an answer that knows the settings alone.
_BY_SETTINGS = "By the settings alone. A running gateway knows which upstreams are open or full: add --url."


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--url", help=f"ask the running gateway at this URL, with the caller's key in ${CALLER_KEY}"
    )
    add_config(parser)
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    try:
        with ProgressLine():
            settings = None if arguments.url else resolve(environ).settings
            candidates = explained_here(settings, arguments.model) if settings else _there(arguments, environ)
    except NotAnswered as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return FOUND
    if arguments.json:
        print_json({"model": arguments.model, "candidates": candidates})
        return OK
    for line in _lines(candidates):
        print(one_line(line))
    if settings and not _state_is_shared(settings):
        print(_BY_SETTINGS)
    return OK


def _there(arguments: Namespace, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The candidates by the running gateway at ``--url``. Raises :class:`NotAnswered`."""
    path = f"/v1/routes/{quote(arguments.model)}"
    return request(arguments.url, environ.get(CALLER_KEY, ""), path, "GET", "candidates")


def explained_here(settings: Settings, model: str) -> list[dict[str, Any]]:
    """Explain by the settings, and with Redis also by the state in it.

    :raises NotAnswered: the model has no route.
    """
    gateway = build.build(settings, None if _state_is_shared(settings) else MemoryStore())
    try:
        candidates = gateway.candidates.explain(Caller("operator", 0), model)
    except UnknownModel as error:
        raise NotAnswered(error.message) from None
    return [msgspec.to_builtins(candidate) for candidate in candidates]


def _state_is_shared(settings: Settings) -> bool:
    """Whether this process can read the state of a running gateway."""
    return settings.state.startswith("redis")


def _lines(candidates: list[dict[str, Any]]) -> Iterator[str]:
    for candidate in candidates:
        wait = candidate.get("retry_after")
        until = f" for {wait:g} s more" if wait else ""
        tier, upstream = f"tier {candidate['tier']}", candidate["upstream"]
        yield f"{tier}  {upstream}  {candidate['model']}  {candidate['reason']}{until}"


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway explain gpt-4o", "show the route of gpt-4o by the settings"),
        (
            "flask-gateway explain gpt-4o --url http://127.0.0.1:8000 --json",
            f"ask a running gateway, as the caller whose key is in {CALLER_KEY}",
        ),
    ),
    {
        OK: "the model has a route",
        FOUND: "the model has no route, or the gateway did not answer",
        EX_CONFIG: "a setting is invalid",
    },
)
