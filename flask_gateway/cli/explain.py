"""Shows which upstreams a call of a model would use, and makes a running gateway try an upstream now.

The answer comes from the settings alone, or from a running gateway.
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

#: The timeout of a request to the gateway, seconds.
PATIENCE = 10.0


class NotExplained(Exception):
    """There is nothing to show. The text says why."""


def explained_here(settings: Settings, model: str) -> Iterator[str]:
    """Explain by the settings, and with Redis also by the state in it.

    :raises NotExplained: the model has no route.
    """
    settings_only = not settings.state.startswith("redis")
    gateway = build.build(settings, MemoryStore() if settings_only else None)
    try:
        candidates = gateway.candidates.explain(Caller("operator", 0), model)
    except UnknownModel as error:
        raise NotExplained(error.message) from None
    yield from _lines([msgspec.to_builtins(candidate) for candidate in candidates])
    if settings_only:
        yield "By the settings alone. A running gateway knows which upstreams are open or full: add --url."


def tried_there(url: str, key: str, upstream: str) -> Iterator[str]:
    """Make the gateway at ``url`` try an upstream with the next call.

    :param key: ``GATEWAY_METRICS_KEY``; if that is not set, the key of a caller of all models.
    :raises NotExplained: the gateway does not answer, or refuses.
    """
    path = f"/v1/circuit-breakers/{quote(upstream, safe='')}/try"
    for breaker in _request(url, key, path, "POST", "data"):
        name = f"{breaker['upstream']}/{breaker['model']}" if breaker.get("model") else breaker["upstream"]
        now = "the next call tries it" if not breaker.get("retry_after") else "a probe is in flight"
        yield f"{name}  {breaker['state']}  {now}"


def explained_there(url: str, key: str, model: str) -> Iterator[str]:
    """Explain by the gateway at ``url``, for the caller with that key.

    :raises NotExplained: the gateway does not answer, or the model has no route.
    """
    yield from _lines(_request(url, key, f"/v1/routes/{quote(model)}", "GET", "candidates"))


def _request(url: str, key: str, path: str, method: str, field: str) -> list[dict[str, Any]]:
    if not url.startswith(("http://", "https://")):
        raise NotExplained(f"--url: expected a URL that begins with http:// or https://, not {url!r}")
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", method=method)  # noqa: S310 - see above
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - see above
            rows: list[dict[str, Any]] = json.load(answer)[field]
    except urllib.error.HTTPError as error:
        with error:
            raise NotExplained(f"{url} answered {error.code}: {_message(error.read())}") from None
    except (OSError, ValueError, KeyError) as error:
        raise NotExplained(f"{url} did not answer as a gateway: {error}") from None
    return rows


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason was given"


def _lines(candidates: list[dict[str, Any]]) -> Iterator[str]:
    for candidate in candidates:
        wait = candidate.get("retry_after")
        until = f" for {wait:g} s more" if wait else ""
        tier, upstream = f"tier {candidate['tier']}", candidate["upstream"]
        yield f"{tier}  {upstream}  {candidate['model']}  {candidate['reason']}{until}"
