"""Serves the usage of an organization in OpenAI's shape, where ``compat`` names ``openai``.

A key of the gateway is an ``api_key_id``, a team is a ``project_id``. Buckets are days or hours in UTC.
https://platform.openai.com/docs/api-reference/usage
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from flask import Flask, Response, request

from ...auth.key_pages import whole
from ...ledger import reports
from ...model.errors import InvalidField
from ...model.money import NANO
from ..json_response import json_response
from .ledger import reading
from .parameters import arguments_of

#: The seconds of a bucket, the usual number of buckets of a page, and the most.
_WIDTHS = {"1d": (86_400, 7, 31), "1h": (3600, 24, 168)}
_COSTS = {"1d": (86_400, 7, 180)}
#: The fields of a group, by the names of :data:`reports.DIMENSIONS`.
_GROUPS = {"model": "model", "api_key_id": "key", "project_id": "team"}
_FILTERS = {"models": "model", "api_key_ids": "key", "project_ids": "team"}
_MOST_TIME = 2**40


class _Asked(NamedTuple):
    """:param width: of a bucket, seconds. :param since: of the first bucket, epoch seconds."""

    width: int
    since: int
    until: int
    by: tuple[str, ...]
    more: int | None


def register(app: Flask) -> None:
    """Add the paths. Their endpoints are an admin's."""
    for path, view in (("usage/completions", show_completions), ("costs", show_costs)):
        app.add_url_rule(
            f"/v1/organization/{path}",
            endpoint=f"gateway_admin.{view.__name__}",
            view_func=view,
            methods=["GET"],
            provide_automatic_options=False,
        )


def show_completions() -> Response:
    """``GET /v1/organization/usage/completions?start_time=…&group_by=model``."""
    asked = _asked(_WIDTHS, _GROUPS, _FILTERS)

    def result(row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "object": "organization.usage.completions.result",
            "input_tokens": row["input"],
            "output_tokens": row["output"],
            "input_cached_tokens": row["cached"],
            "num_model_requests": row["calls"],
            **_named(row, asked.by),
            "user_id": None,
            "batch": None,
        }

    return _page(asked, result)


def show_costs() -> Response:
    """``GET /v1/organization/costs?start_time=…&group_by=line_item``. A line item is a model."""
    asked = _asked(_COSTS, {"line_item": "model", "project_id": "team", "api_key_id": "key"}, {})

    def result(row: Mapping[str, Any]) -> dict[str, Any]:
        named = _named(row, asked.by)
        return {
            "object": "organization.costs.result",
            "amount": {"value": float(Decimal(row["cost"]) / NANO), "currency": "usd"},
            "line_item": named["model"],
            "project_id": named["project_id"],
            "api_key_id": named["api_key_id"],
        }

    return _page(asked, result)


def _named(row: Mapping[str, Any], by: tuple[str, ...]) -> dict[str, str | None]:
    return {name: row[column] or None if column in by else None for name, column in _GROUPS.items()}


def _asked(
    widths: Mapping[str, tuple[int, int, int]], groups: Mapping[str, str], filters: Mapping[str, str]
) -> _Asked:
    names = ("start_time", "end_time", "bucket_width", "limit", "page")
    _refuse_filters(filters)
    wanted = arguments_of(*names, "group_by", "group_by[]")
    width = wanted["bucket_width"] or "1d"
    if width not in widths:
        raise InvalidField(f"bucket_width: expected {' or '.join(widths)}", param="bucket_width")
    seconds, usual, most = widths[width]
    if wanted["start_time"] is None:
        raise InvalidField("start_time: expected epoch seconds", param="start_time")
    start = whole("start_time", wanted["page"] or wanted["start_time"], 0, _MOST_TIME)
    since = start - start % seconds
    end = whole("end_time", wanted["end_time"], int(time.time()) + 1, _MOST_TIME)
    last = -(-end // seconds) * seconds
    until = min(last, since + seconds * whole("limit", wanted["limit"], usual, most))
    asked = [*request.args.getlist("group_by"), *request.args.getlist("group_by[]")]
    given = [name for text in asked for name in text.split(",") if name]
    for name in given:
        if name not in groups:
            raise InvalidField(f"group_by: expected {', '.join(groups)}", param="group_by")
    return _Asked(
        seconds, since, until, tuple(groups[name] for name in given), until if until < last else None
    )


def _refuse_filters(filters: Mapping[str, str]) -> None:
    """Say that results are grouped here, not filtered."""
    for name in request.args:
        if name.removesuffix("[]") in filters:
            raise InvalidField(f"{name}: results are not filtered here; use group_by", param=name)


def _page(asked: _Asked, result: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Response:
    with reading() as connection:
        rows = reports.by_hour(connection, asked.by, asked.since, asked.until)
    sums: dict[int, dict[tuple[str, ...], dict[str, Any]]] = {}
    for row in rows:
        start = row["hour"] - row["hour"] % asked.width
        group = tuple(row[name] for name in asked.by)
        known = sums.setdefault(start, {}).setdefault(group, {**row, **dict.fromkeys(reports.COUNTS, 0)})
        for name in reports.COUNTS:
            known[name] += row[name]
    buckets = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": start + asked.width,
            "results": [result(row) for row in sums.get(start, {}).values()],
        }
        for start in range(asked.since, asked.until, asked.width)
    ]
    more = None if asked.more is None else str(asked.more)
    return json_response({"object": "page", "data": buckets, "has_more": more is not None, "next_page": more})
