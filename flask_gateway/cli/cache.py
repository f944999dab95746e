"""``cache``: shows how full the cache of all workers is, or empties it, also while the gateway serves."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ..config.load import resolve
from .command import FOUND, OK, Command, add_config, add_json, print_json

_ACTIONS = {
    "stats": "count the kept answers and their bytes",
    "clear": "drop all kept answers; a running gateway goes on with an empty cache",
}


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, allow_abbrev=False)
        add_config(action)
        add_json(action)


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Raises :class:`ConfigError`."""
    from ..app.caching import is_shared, open_entries

    cache = resolve(environ).settings.cache
    if not is_shared(cache):
        missing = "lmdb is not installed: pip install '.[cache]'"
        reason = "[cache] has no path" if cache.path is None else missing
        print(f"flask-gateway: each worker keeps its answers in its memory, since {reason}", file=sys.stderr)
        return FOUND
    entries = open_entries(cache)
    try:
        if not entries.open():
            print(f"flask-gateway: the cache in {cache.path} cannot be opened", file=sys.stderr)
            return FOUND
        before = entries.stats()
        if arguments.action == "clear":
            entries.clear()
    finally:
        entries.close()
    told = {"answers": before.entries, "bytes": before.used, "max_bytes": before.most}
    if arguments.action == "clear":
        told = {"dropped": before.entries}
    if arguments.json:
        print_json(told)
    else:
        for name, value in told.items():
            print(f"{name}: {value}")
    return OK


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway cache stats", "how many answers are kept, and how full the file is"),
        ("flask-gateway cache clear", "drop them all, such as after a bad answer"),
    ),
    {OK: "done", FOUND: "there is no cache that workers share, or it cannot be opened"},
    {
        "stats": (
            ("flask-gateway cache stats", "how many answers are kept, and how full the file is"),
            ("flask-gateway cache stats --json", "the same, for programs"),
        ),
        "clear": (
            ("flask-gateway cache clear", "drop all answers, such as after a bad one"),
            ("flask-gateway cache clear --config gateway.toml", "those of another settings file"),
        ),
    },
)
