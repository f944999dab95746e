"""Serves ``/ui/live``: the figures of the overview, the upstreams and the requests, each second."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, request

from ...app.build import Gateway
from ...model.errors import InvalidField
from ...telemetry.page_rings import PageRings
from ..fast_flask import CallResponse
from ..request_state import gateway
from .access import SAFE, plain
from .feed import Feed, FeedFull, reply_of
from .overview import overview_values
from .rendering import fragment, page
from .request_list import request_values
from .upstreams import upstream_values

#: By topic, which is the name of its page: what its fragment shows.
_TOPICS: dict[str, Callable[[Gateway], dict[str, Any]]] = {
    "overview": overview_values,
    "upstreams": upstream_values,
    "requests": request_values,
}
_EXTENSION = "gateway_page.feeds"


def add_feeds(app: Flask) -> None:
    """Give the application a feed for each topic. It renders only while pages are open."""

    def here() -> Gateway:
        found: Gateway = app.extensions["gateway"]  # a reload replaces it
        return found

    def render(topic: str) -> str:
        return fragment(f"{topic}-now.html", **_TOPICS[topic](here()))

    renderers: dict[str, Callable[[], str]] = {topic: partial(render, topic) for topic in _TOPICS}
    renderers["requests"] = if_changed(renderers["requests"], lambda: here().rings)
    app.extensions[_EXTENSION] = {
        topic: Feed(renderer, lambda: here().draining.is_set()) for topic, renderer in renderers.items()
    }


def if_changed(render: Callable[[], str], rings: Callable[[], PageRings | None]) -> Callable[[], str]:
    """Render the list of requests only if one has come. The list has 30 KB, and no figure that ages."""
    last = (-1, "")

    def changed() -> str:
        nonlocal last
        kept = rings()
        arrived = kept.arrived() if kept else 0
        if arrived != last[0]:
            last = (arrived, render())
        return last[1]

    return changed


@page("live")
def live() -> Response:
    feed: Feed | None = current_app.extensions[_EXTENSION].get(request.args.get("topic", ""))
    if feed is None:
        raise InvalidField(f"topic: expected {' or '.join(_TOPICS)}", param="topic")
    if gateway().draining.is_set():
        return plain("This process stops. Ask again: another one answers.", 503)
    try:
        reply = reply_of(feed.subscribe())
    except FeedFull:
        return plain("Too many live pages are open here. Load the page again for new figures.", 503)
    headers = [*SAFE.items(), ("X-Accel-Buffering", "no")]
    return CallResponse(reply, 200, "text/event-stream", headers)
