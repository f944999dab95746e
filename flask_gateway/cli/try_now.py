"""``try``: makes a running gateway try an upstream with the next call, even if its breaker is open."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..config.errors import one_line
from .command import CALLER_KEY, FOUND, OK, Command, add_json, print_json
from .running_gateway import NotAnswered, request


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("upstream", metavar="UPSTREAM")
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="URL of the gateway (%(default)s); the request has the key in $GATEWAY_METRICS_KEY, or else in "
        f"${CALLER_KEY}",
    )
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """The key is ``GATEWAY_METRICS_KEY``; if that is not set, the key of a caller of all models."""
    key = environ.get("GATEWAY_METRICS_KEY") or environ.get(CALLER_KEY, "")
    path = f"/v1/circuit-breakers/{quote(arguments.upstream, safe='')}/try"
    try:
        breakers = request(arguments.url, key, path, "POST", "data")
    except NotAnswered as error:
        print(one_line(f"flask-gateway: {error}"), file=sys.stderr)
        return FOUND
    if arguments.json:
        print_json({"breakers": breakers})
        return OK
    for breaker in breakers:
        print(one_line(_line(breaker)))
    return OK


def _line(breaker: dict[str, Any]) -> str:
    name = f"{breaker['upstream']}/{breaker['model']}" if breaker.get("model") else breaker["upstream"]
    now = "the next call tries it" if not breaker.get("retry_after") else "a probe is in flight"
    return f"{name}  {breaker['state']}  {now}"


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway try openai", "let the next call through to openai, at http://127.0.0.1:8000"),
        ("flask-gateway try llama --url http://10.0.0.4:8000 --json", "the same at another gateway"),
    ),
    {OK: "the next call tries it", FOUND: "the gateway did not answer, or refused"},
)
