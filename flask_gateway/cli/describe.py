"""``describe``: prints what the gateway knows of APIs and kinds of upstreams, as tables in Markdown."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from ..config.kinds import KINDS, Kind
from ..dialects.translations.table import TRANSLATIONS, counts_by_estimate, translations_to
from ..dialects.translations.translation import Translation
from ..model.call import DIRECT, SESSIONS, Operation
from .command import OK, Command, add_json, print_json

#: The operations of the table. Sessions over WebSocket are set by `speaks` alone.
_LISTED = tuple(operation for operation in Operation if operation not in (*SESSIONS, *DIRECT))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", choices=("dialects",), help="dialects: the kinds of upstreams")
    add_json(parser)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    if arguments.json:
        print_json({"kinds": {name: _fields(kind) for name, kind in KINDS.items()}})
        return OK
    for line in dialects():
        print(line)
    return OK


def _fields(kind: Kind) -> dict[str, Any]:
    return {
        "url": kind.url or None,
        "operations": list(kind.speaks),
        "translated": sorted(translations_to(kind.speaks)),
        "credential": str(kind.credential),
        "anthropic_path": kind.anthropic_path or None,
        "openai_path": kind.openai_path or None,
        "model_in_path": kind.model_in_path,
        "seconds": dict(kind.clocks),
        "stream_usage": kind.stream_usage,
        "quota_without_wait": kind.quota_without_wait,
        "checks_signatures": kind.checks_signatures,
    }


def dialects() -> Iterator[str]:
    """Yield the lines of the tables in ``docs/dialects.md``."""
    yield from _table(["kind", *_LISTED], ([name, *_marks(kind)] for name, kind in KINDS.items()))
    yield ""
    head = ["kind", "URL without `url`", "key", "Anthropic's paths", "seconds", "quirks"]
    yield from _table(head, (_row(name, kind) for name, kind in KINDS.items()))
    for translation in TRANSLATIONS:
        yield ""
        head = [f"field of `{translation.asked}`", f"sent as `{translation.spoken}`"]
        yield from _table(head, _fields_of(translation))


def _marks(kind: Kind) -> list[str]:
    across = translations_to(kind.speaks)
    marks = dict.fromkeys(across, "translated") | dict.fromkeys(kind.speaks, "native")
    if counts_by_estimate(kind.speaks):
        marks[Operation.COUNT] = "estimated"
    return [marks.get(operation, "") for operation in _LISTED]


def _fields_of(translation: Translation) -> Iterator[list[str]]:
    fields = translation.fields
    for name, carrier in fields.mapped.items():
        yield [f"`{name}`", carrier]
    for names, what in ((fields.without_effect, "without effect"), (fields.refused, "refused")):
        yield [", ".join(f"`{name}`" for name in names), what]


def _row(name: str, kind: Kind) -> list[str]:
    seconds = ", ".join(f"{clock} {value:g}" for clock, value in kind.clocks.items())
    quirks = [] if kind.stream_usage else ["`stream_usage = false`"]
    if kind.openai_path:
        quirks.append(f"OpenAI's paths are below `{kind.openai_path}`")
    if kind.quota_without_wait:
        quirks.append("429 without `retry-after`: no credit")
    url = f"`{kind.url}`" if kind.url else "needed"
    path = f"`{kind.anthropic_path}` of the host" if kind.anthropic_path else ""
    path = "`/publishers/anthropic/models/MODEL:rawPredict`" if kind.model_in_path else path
    return [name, url, f"`{kind.credential}`", path, seconds or "as set", ", ".join(quirks)]


def _table(head: list[str], rows: Iterator[list[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


COMMAND = Command(
    _arguments,
    _run,
    (
        (
            "flask-gateway describe dialects",
            "the operations of each kind of upstream, the fields of translations",
        ),
        ("flask-gateway describe dialects --json", "the same for programs"),
    ),
    {OK: "always"},
)
