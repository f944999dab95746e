"""``keys``: makes keys of callers, for the settings file or issued at run time."""

from __future__ import annotations

import secrets
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ..config.errors import InvalidValue, dotted, one_line
from ..config.secrets import USABLE_KEY, Key, digest
from ..config.value_types import UPSTREAM_NAME, Name
from .command import CALLER_KEY, EX_CONFIG, FOUND, LOOK, OK, USAGE, Command, add_json, print_json
from .key_actions import EXAMPLES, add_actions, run

#: The random bytes of a key: more than anybody can guess.
RANDOM_BYTES = 24


def new_key() -> str:
    """A new key. It begins with ``sk-``, as clients of OpenAI's API expect."""
    return f"sk-{secrets.token_hex(RANDOM_BYTES)}"


def table(name: str, key: str) -> str:
    """The lines of ``gateway.toml`` for the key: its digest, never the key itself."""
    return f'[{dotted("keys", name)}]\nsha256 = "{digest(key).hex()}"'


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    making = actions.add_parser(
        "new", help="make a key and the lines of gateway.toml for it", allow_abbrev=False
    )
    making.add_argument("name", metavar="NAME", help="the caller, as logs show it")
    add_json(making)
    hashing = actions.add_parser(
        "hash", help=f"print the digest of the key in ${CALLER_KEY}, or on standard input", allow_abbrev=False
    )
    add_json(hashing)
    add_actions(actions)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    if arguments.action == "new":
        return _new(arguments)
    return _hash(arguments, environ) if arguments.action == "hash" else run(arguments, environ)


def _new(arguments: Namespace) -> int:
    try:
        Name(UPSTREAM_NAME).parse(arguments.name)
    except InvalidValue as error:
        print(one_line(f"flask-gateway: NAME={arguments.name!r}: expected {error.expected}"), file=sys.stderr)
        return USAGE
    key = new_key()
    if arguments.json:
        print_json({"name": arguments.name, "key": key, "sha256": digest(key).hex()})
        return OK
    # Only the table goes to standard output, so that `>>gateway.toml` does not store the key.
    print(f"The key of {arguments.name}, shown only now: {key}", file=sys.stderr)
    print("A running gateway takes over these lines of its settings file within 5 seconds:", file=sys.stderr)
    print(f"\n{table(arguments.name, key)}")
    return OK


def _hash(arguments: Namespace, environ: Mapping[str, str]) -> int:
    key = environ.get(CALLER_KEY) or sys.stdin.readline().rstrip("\r\n")
    try:
        Key(USABLE_KEY).parse(key)
    except InvalidValue as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"flask-gateway: the key: expected {error.expected}{hint}", file=sys.stderr)
        return FOUND
    print_json({"sha256": digest(key).hex()}) if arguments.json else print(digest(key).hex())
    return OK


COMMAND = Command(
    _arguments,
    _run,
    (
        (
            "flask-gateway keys new alice >>gateway.toml",
            "give alice a key; it is shown once, on the terminal",
        ),
        (
            "flask-gateway keys create --name web --models 'gpt-4o*' --expires 90d",
            "issue a key while the gateway runs",
        ),
    ),
    {
        OK: "done",
        FOUND: "the key cannot be used, or the request was refused",
        LOOK: "imported, with differences to look at",
        EX_CONFIG: "a setting is invalid",
    },
    {
        "new": (
            ("flask-gateway keys new alice >>gateway.toml", "give alice a key; it is shown on the terminal"),
            ("flask-gateway keys new alice --json", "print the key and its digest, for programs"),
        ),
        "hash": (
            ("flask-gateway keys hash <key.txt", "print the digest of the key in a file"),
            (f"{CALLER_KEY}=… flask-gateway keys hash --json", "that of a key in the environment"),
        ),
        **EXAMPLES,
    },
)
