"""Checks that each error message for callers says what to do next: it is read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import flask_gateway.server.client_connection
import flask_gateway.web.app  # noqa: F401  (its modules define errors, too)
from flask_gateway.model.errors import GatewayError

ROOT = Path(__file__).parent.parent / "flask_gateway"

#: A message names a next step by one of these words, or says which values are valid.
NEXT_STEP = re.compile(
    r"""\b(
        try | again | retry | wait | send | ask | check | use | name | add | leave | encode | compress
      | stream | call | set | operator | list(s|ed)? | expected | must\ be | may\ name | writes? | makes
      | is\ accepted | cors_origins | SEND_AGAIN | TELL_OPERATOR | _[A-Z]+
      | error | reason | allowed  # words of others, which say what is valid
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
#: Errors that only the log or another module of the gateway sees.
NOT_SHOWN = {"CallerLeft", "NotRead"}
#: Messages that others complete, or that only the operator's commands show.
COMPLETED = {
    "dialects/sse.py",  # stream_transcript adds the upstream and the next step
    "upstreams/model_list.py",  # `doctor` and `check` show it
}


def error_names() -> set[str]:
    names, pending = set(), [GatewayError]
    while pending:
        kind = pending.pop()
        names.add(kind.__name__)
        pending += kind.__subclasses__()
    return names - NOT_SHOWN


def words_of(message: ast.expr) -> str | None:
    """The text of a literal message, with the names that it inserts; ``None`` for a variable."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return message.value
    if not isinstance(message, ast.JoinedStr):
        return None
    parts = []
    for part in message.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            parts.append(f" {' '.join(_names(part))} ")
    return "".join(parts)


def _names(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def messages() -> Iterator[tuple[str, str]]:
    """Yield each literal message of an error, and where it stands."""
    names = error_names()
    for path in sorted(ROOT.rglob("*.py")):
        where, source = str(path.relative_to(ROOT)), path.read_text()
        if "errors" not in source or where in COMPLETED:
            continue  # parsing all modules takes seconds
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and node.args and set(_names(node.func)) & names:
                words = words_of(node.args[0])
                if words:
                    yield f"{where}:{node.lineno}", words


def test_each_message_says_what_to_do_next() -> None:
    found = dict(messages())
    assert len(found) > 100
    assert {place: words for place, words in found.items() if not NEXT_STEP.search(words)} == {}


def test_a_message_without_a_next_step_would_be_found() -> None:
    assert not NEXT_STEP.search("Upstream 'up' could not be connected to.")
    assert NEXT_STEP.search("The field 'x' is missing. Add it.")
