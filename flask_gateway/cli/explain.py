"""Shows where a call of a model would go, and why; and has an upstream tried now.

Where a call goes is shown by the settings alone, or as a gateway that runs sees it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from ..app import build
from ..config.schema import Settings
from ..model.call import Caller
from ..model.errors import UnknownModel
from ..state.memory import MemoryStore

PATIENCE = 10.0


class NotExplained(Exception):
    """There is nothing to show; the text says why."""


def explained_here(settings: Settings, model: str) -> Iterator[str]:
    """By the settings; with Redis also by the state in it.

    :raises NotExplained: there is no route.
    """
    apart = not settings.state.startswith("redis")
    gateway = build.build(settings, MemoryStore() if apart else None)
    try:
        found = gateway.candidates.explain(Caller("operator", 0), model)
    except UnknownModel as error:
        raise NotExplained(error.message) from None
    yield from _lines([msgspec.to_builtins(one) for one in found])
    if apart:
        yield "By the settings alone. A gateway that runs knows what is open or full: add --url."


def tried_there(url: str, key: str, upstream: str) -> Iterator[str]:
    """Have the gateway at ``url`` ask an upstream again with the next call.

    :param key: ``GATEWAY_METRICS_KEY``, or where none is set, of a caller of all models.
    :raises NotExplained: it does not answer, or refuses.
    """
    path = f"/v1/circuit-breakers/{quote(upstream, safe='')}/try"
    for one in _asked(url, key, path, "POST", "data"):
        name = f"{one['upstream']}/{one['model']}" if one.get("model") else one["upstream"]
        now = "the next call asks it" if not one.get("retry_after") else "a probe is under way"
        yield f"{name}  {one['state']}  {now}"


def explained_there(url: str, key: str, model: str) -> Iterator[str]:
    """As the gateway at ``url`` sees it, for the caller with that key.

    :raises NotExplained: it does not answer, or has no route.
    """
    yield from _lines(_asked(url, key, f"/v1/routes/{quote(model)}", "GET", "candidates"))


def _asked(url: str, key: str, path: str, method: str, field: str) -> list[dict[str, Any]]:
    if not url.startswith(("http://", "https://")):
        raise NotExplained(f"--url: expected a URL that begins with http:// or https://, not {url!r}")
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", method=method)  # noqa: S310 - see above
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - see above
            found: list[dict[str, Any]] = json.load(answer)[field]
    except urllib.error.HTTPError as error:
        with error:
            raise NotExplained(f"{url} answered {error.code}: {_message(error.read())}") from None
    except (OSError, ValueError, KeyError) as error:
        raise NotExplained(f"{url} did not answer as a gateway: {error}") from None
    return found


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason was given"


def _lines(candidates: list[dict[str, Any]]) -> Iterator[str]:
    for one in candidates:
        wait = one.get("retry_after")
        until = f" for {wait:g} s more" if wait else ""
        yield f"tier {one['tier']}  {one['upstream']}  {one['model']}  {one['reason']}{until}"
