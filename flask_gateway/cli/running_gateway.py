"""Asks a running gateway, for the commands with ``--url``. Uses the standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from .terminal import ProgressLine

#: The timeout of a request to the gateway, seconds.
PATIENCE = 10.0


class NotAnswered(Exception):
    """There is nothing to show. The text says why.

    :ivar code: of the gateway's error; empty: it gave none.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def request(url: str, key: str, path: str, method: str, field: str) -> list[dict[str, Any]]:
    """The rows in one field of the answer.

    :raises NotAnswered: the gateway does not answer, or refuses.
    """
    try:
        rows: list[dict[str, Any]] = ask(url, key, path, method)[field]
    except KeyError as error:
        raise NotAnswered(f"{url} did not answer as a gateway: {error}") from None
    return rows


def ask(url: str, key: str, path: str, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a request, and return the JSON of its answer.

    :raises NotAnswered: the gateway does not answer, or refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise NotAnswered(f"--url: expected a URL that begins with http:// or https://, not {url!r}")
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{url.rstrip('/')}{path}", data, method=method)  # noqa: S310 - see above
    asked.add_header("Authorization", f"Bearer {key}")
    asked.add_header("Content-Type", "application/json")
    try:
        with ProgressLine(), urllib.request.urlopen(asked, timeout=PATIENCE) as answer:  # noqa: S310 - see above
            shown: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            message, code = _reason(error.read())
        raise NotAnswered(f"{url} answered {error.code}: {message}", code) from None
    except (OSError, ValueError) as error:
        raise NotAnswered(f"{url} did not answer as a gateway: {error}") from None
    return shown


def _reason(body: bytes) -> tuple[str, str]:
    """The message and the code of an error."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"]), str(error.get("code") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no reason was given", ""
