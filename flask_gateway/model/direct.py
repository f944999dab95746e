"""Defines a request that goes to one upstream as it is, at a path of that upstream's own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .upload import LongBody


class Direct(msgspec.Struct, frozen=True, kw_only=True):
    """A request without a model, about state that one upstream holds.

    :param path: below the upstream's base URL, with its query.
    :param asked: the path of the caller's request. :param route: the pattern of that, for logs and metrics.
    :param state: the id of the state that it names; empty: the caller names the upstream.
    :param headers: of the caller, to be sent to the upstream.
    """

    method: str
    path: str
    asked: str
    route: str
    state: str = ""
    body: bytes | LongBody = b""
    headers: Mapping[str, str] = {}
