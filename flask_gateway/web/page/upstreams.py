"""Serves ``/ui/upstreams`` and one upstream. Admins take it out, put it back, or forget its failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from flask import Response, request

from ...app.build import Gateway
from ...config.schema import Timeouts, UpstreamSettings, mask_url
from ...guards.breaker import Breaker, BreakerStatus
from ...model.errors import InvalidField, UnknownUpstream
from ...telemetry.exposition import live_calls
from ..request_state import gateway
from .access import form, redirect, tell
from .attempts import LOOK, Tried, attempts_of, failing_since, to_do
from .chart import Strip, strip
from .overview import state_of
from .rendering import action, as_json, page, query, render
from .shown import shown_seconds

#: The fields of an upstream that the JSON has as they are.
_SHOWN = ("name", "url", "state", "in_flight", "failing", "since", "taken_out")
#: The most upstreams on the page. The broken ones come first.
MOST = 25
#: For how long an upstream may be taken out, seconds, as the form offers it.
TIMES = {"600": "10 minutes", "3600": "1 hour", "14400": "4 hours", "86400": "24 hours"}


class UpstreamView(msgspec.Struct, frozen=True):
    """An upstream as the page shows it.

    :param in_flight: its calls in flight, over all workers; ``None``: not known.
    :param last: its last attempts, the oldest first. :param failing: its failures in a row, by these.
    :param since: when the first of these ended, seconds since the epoch.
    """

    name: str
    url: str
    state: str
    words: str
    breakers: Sequence[BreakerStatus]
    in_flight: int | None
    limit: int
    last: Sequence[Tried]
    failing: int
    since: float | None
    clocks: Timeouts
    taken_out: float

    @property
    def bars(self) -> Strip:
        return strip([(one.seconds, one.good) for one in self.last])

    @property
    def failed(self) -> int:
        return sum(not one.good for one in self.last)

    @property
    def to_do(self) -> str:
        """The next step of an operator, while its calls fail."""
        return to_do(self.last[-1].result) if self.failing else ""

    @property
    def why(self) -> Tried | None:
        """The last failure."""
        return next((one for one in reversed(self.last) if not one.good), None)


def views_of(here: Gateway, named: str | None = None) -> list[UpstreamView]:
    """Every upstream of the settings, the broken ones first; or the one with that name."""
    breakers = [one for one in here.breakers if named is None or one.upstream == named]
    statuses, flying = [one.status() for one in breakers], live_calls()
    tried = attempts_of(here.rings.latest(LOOK), at=named) if here.rings else {}
    views = []
    for upstream in here.settings.upstreams:
        if named not in (None, upstream.name):
            continue
        own = [status for status in statuses if status.upstream == upstream.name]
        clocks = here.candidates.clocks(upstream.name)
        views.append(_view(upstream, own, tried.get(upstream.name, []), flying, clocks))
    return sorted(views, key=lambda view: view.state == "closed")


def _view(
    upstream: UpstreamSettings,
    own: Sequence[BreakerStatus],
    tried: Sequence[Tried],
    flying: Mapping[str, int] | None,
    clocks: Timeouts,
) -> UpstreamView:
    state, words = state_of(own)
    failing, since = failing_since(tried)
    return UpstreamView(
        name=upstream.name,
        url=mask_url(upstream.url),
        state=state,
        words=words,
        breakers=own,
        in_flight=None if flying is None else flying.get(upstream.name, 0),
        limit=upstream.max_in_flight,
        last=tried,
        failing=failing,
        since=since,
        clocks=clocks,
        taken_out=max((status.taken_out for status in own), default=0),
    )


def upstream_values(here: Gateway) -> dict[str, Any]:
    """The figures of the page of all upstreams."""
    views = views_of(here)
    return {"views": views[:MOST], "more": len(views) - MOST}


@page("upstreams")
def list_upstreams() -> Response:
    formats = {"JSON": "upstreams.json"}
    return render("upstreams.html", title="Upstreams", formats=formats, **upstream_values(gateway()))


@page("upstreams.json")
def upstreams_json() -> Response:
    return as_json([_plain(view) for view in views_of(gateway())])


def _plain(view: UpstreamView) -> dict[str, Any]:
    shown = {name: getattr(view, name) for name in _SHOWN}
    last = [one._asdict() for one in view.last]
    return {**shown, "why": view.words, "breakers": view.breakers, "last": last}


def _named() -> UpstreamView:
    """The upstream that the URL names.

    :raises UnknownUpstream: there is none.
    """
    name = request.args.get("name", "")
    if not (views := views_of(gateway(), name)):
        raise UnknownUpstream(f"There is no upstream '{name[:200]}' here. The page Upstreams lists them all.")
    return views[0]


@page("upstream.json")
def upstream_json() -> Response:
    return as_json(_plain(_named()))


@page("upstream")
def show_upstream() -> Response:
    view = _named()
    name = view.name
    return render(
        "upstream.html",
        title=f"Upstream {name}",
        formats={"JSON": f"upstream.json?{query(name=name)}"},
        view=view,
        alone=models_alone_at(name),
        times=TIMES,
    )


def models_alone_at(name: str) -> list[str]:
    """The listed models that no other upstream serves; its own name only if it serves nothing with others."""
    here, alone, is_shared = gateway(), [], False
    for model in here.listed():
        targets = {target.upstream for tier in here.routes.route(model).tiers for target in tier}
        is_shared = is_shared or (name in targets and len(targets) > 1)
        if targets == {name}:
            alone.append(model)
    return [model for model in alone if model != name or not is_shared]


def _breakers() -> tuple[str, list[Breaker]]:
    """The upstream that the form names, and its breakers.

    :raises UnknownUpstream: there is none.
    """
    name = form().get("name", "")
    breakers = [breaker for breaker in gateway().breakers if breaker.upstream == name]
    if not breakers:
        raise UnknownUpstream(f"There is no upstream '{name[:200]}' here. The page Upstreams lists them all.")
    return name, breakers


@action("take-out")
def take_out() -> Response:
    name, breakers = _breakers()
    seconds = form().get("seconds", "")
    if seconds not in TIMES:
        raise InvalidField(f"seconds: expected {' or '.join(TIMES)}", param="seconds")
    for breaker in breakers:
        breaker.take_out(float(seconds))
    tell(f"took out for {shown_seconds(float(seconds))} the upstream", name)
    return redirect(f"upstream?{query(name=name)}")


@action("put-back")
def put_back() -> Response:
    name, breakers = _breakers()
    for breaker in breakers:
        breaker.take_out(0)
    tell("put back the upstream", name)
    return redirect(f"upstream?{query(name=name)}")


@action("forget")
def forget() -> Response:
    name, breakers = _breakers()
    for breaker in breakers:
        breaker.forget()
    tell("forgot the failures of the upstream", name)
    return redirect(f"upstream?{query(name=name)}")
