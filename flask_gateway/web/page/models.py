"""Serves ``/ui/models``: each model's upstreams in order, and why a call would reach them or not."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import msgspec
from flask import Response, request

from ...app.candidates import CandidateStatus, Known
from ...auth import key_tables
from ...model.call import Caller
from ...model.errors import InvalidField, UnknownModel
from ..admin.changes import changes
from ..request_state import gateway
from .access import visitor
from .rendering import as_json, page, query, render, weight, within

#: The most models on the page.
MOST = 150
#: The most candidates of a model there, and the most bytes of all rows.
SHOWN, _MOST_HTML = 8, 48_000


class ModelView(NamedTuple):
    """A model with the candidates for its calls."""

    name: str
    candidates: list[CandidateStatus]


def anybody() -> Caller:
    """A caller that may call every model."""
    return Caller(id=f"page:{visitor().name}", rate_limit=0)


def explained(caller: Caller, model: str, known: Known | None = None) -> list[CandidateStatus]:
    """The candidates of a model; empty if it does not exist. :param known: of other models, on this page."""
    try:
        return gateway().candidates.explain(caller, model, known)
    except UnknownModel:
        return []


def caller_named(name: str) -> Caller | None:
    """A caller with the models of a key, by the key's name or id. ``None``: there is no such key."""
    for key in gateway().settings.keys:
        if key.id == name:
            return Caller(id=key.id, rate_limit=0, models=key.models)
    with changes().reading() as (db, _now):
        row = key_tables.key_by_name(db, name) or key_tables.key_by_id(db, name)
    if row is None:
        return None
    models = msgspec.json.decode(row.models, type=list[str] | None)
    return Caller(id=row.id, rate_limit=0, models=None if models is None else frozenset(models))


def _weight(view: ModelView) -> int:
    """About how many bytes of HTML a row takes."""
    shown = view.candidates[:SHOWN]
    return 150 + weight(view.name) + sum(180 + weight(one.upstream, one.model) for one in shown)


@page("models")
def list_models() -> Response:
    wanted, key = (request.args.get(name, "").strip()[:300] for name in ("model", "key"))
    caller = caller_named(key) if key else anybody()
    listed, everybody, known = gateway().listed(), anybody(), Known()
    views = (ModelView(name, explained(everybody, name, known)) for name in islice(listed, MOST))
    return render(
        "models.html",
        title="Models",
        formats={"JSON": f"models.json?{query(model=wanted, key=key)}"},
        wanted=wanted,
        key=key,
        unknown_key=caller is None,
        answer=explained(caller, wanted) if wanted and caller else [],
        models=list(within(views, _weight, _MOST_HTML)),
        count=len(listed),
    )


@page("models.json")
def models_json() -> Response:
    wanted, key = (request.args.get(name, "").strip()[:300] for name in ("model", "key"))
    caller = caller_named(key) if key else anybody()
    if caller is None:
        raise InvalidField(f"There is no key '{key}'. The page Keys lists them all.", param="key")
    names, known = [wanted] if wanted else list(gateway().listed()), Known()
    return as_json([ModelView(name, explained(caller, name, known))._asdict() for name in names])
