"""Renders templates."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, wraps
from hashlib import sha256, sha384
from html import escape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from flask import Response, g, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ... import __version__
from ...model.errors import GatewayError
from .. import error_handlers
from ..request_state import gateway, request_state
from . import elements, session, shown
from .access import COOKIE, SAFE, Visitor, blueprint, is_secure, redirect, signing_key

_HERE = Path(__file__).parent
#: The menu: path and title of each page.
MENU = (
    ("overview", "Overview"),
    ("upstreams", "Upstreams"),
    ("models", "Models"),
    ("keys", "Keys"),
    ("requests", "Requests"),
    ("spend", "Spend"),
    ("try", "Try"),
    ("settings", "Settings"),
    ("health", "Health"),
)

_KINDS = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
_FILES = sorted(path for path in (_HERE / "static").iterdir() if path.suffix in _KINDS)
_ASSETS = {path.name: path.read_bytes() for path in _FILES}
_HASHES = {name: sha256(data).hexdigest()[:12] for name, data in _ASSETS.items()}
_INTEGRITY = {name: base64.b64encode(sha384(data).digest()).decode() for name, data in _ASSETS.items()}

Thing = TypeVar("Thing")
View = Callable[[], Response]
#: A text that is the same in a URL as it is, and one that is the same in HTML.
_PLAIN = re.compile(r"[\w.~/-]*", re.ASCII)
_UNESCAPED = re.compile(r"[ !#-%(-;=?-~]*")


def page(path: str, method: str = "GET") -> Callable[[View], View]:
    """Register a page. An error of the gateway becomes a page with its text."""

    def register(view: View) -> View:
        @wraps(view)
        def answer() -> Response:
            try:
                return view()
            except GatewayError as error:
                return failed(error)

        blueprint.add_url_rule(
            f"/{path}", view.__name__, answer, methods=[method], provide_automatic_options=False
        )
        return answer

    return register


def action(path: str) -> Callable[[View], View]:
    """Register what a form does. ``access.admit`` has checked the form and the role."""
    return page(path, "POST")


def failed(error: GatewayError) -> Response:
    if request.path.endswith((".json", ".csv")):
        response = error_handlers.render(error)
        response.headers.extend(SAFE)
        return response
    return render("error.html", title="That did not work", status=error.status, message=error.message)


def render(
    template: str, *, title: str, status: int = 200, formats: Mapping[str, str] = {}, **values: Any
) -> Response:
    """An HTML page. Every text in it is escaped.

    :param formats: the addresses of the same for programs, by their format.
    """
    visitor: Visitor | None = g.get("visitor")
    html = _templates.get_template(template).render(
        title=title,
        here=request.path.rpartition("/")[2],
        menu=MENU if visitor else (),
        formats=formats,
        visitor=visitor,
        store=gateway().store.status(),
        now=time.time(),
        request_id=request_state().ids.request,
        version=__version__,
        **values,
    )
    response = Response(html, status, content_type="text/html; charset=utf-8", headers=SAFE)
    if visitor and (known := session.renewed(visitor.session, time.time())):
        set_session(response, known, signing_key(visitor.admin))
    return response


def as_json(data: Any, **more: Any) -> Response:
    """The same as a page for programs: ``data``, with ``more`` fields."""
    kind = "list" if isinstance(data, list) else "page"
    body = msgspec.json.encode({"object": kind, "data": data, **more})
    return Response(body, content_type="application/json", headers=SAFE)


def fragment(template: str, **values: Any) -> str:
    """A part of a page, the same for every admin."""
    return _templates.get_template(template).render(**values)


def set_session(response: Response, known: session.Session, key: bytes) -> None:
    """Set the cookie of a session. Without a path, the browser scopes it to the folder of the page, so it
    works behind any prefix and never travels to ``/v1``."""
    value = session.written(known, key)
    response.set_cookie(COOKIE, value, path=None, httponly=True, samesite="Strict", secure=is_secure())


@blueprint.get("", provide_automatic_options=False)
def root() -> Response:
    return redirect("ui/overview")


@blueprint.get("/", provide_automatic_options=False)
def folder() -> Response:
    return redirect("overview")


@blueprint.get("/static/<name>", provide_automatic_options=False)
def asset(name: str) -> Response:
    data = _ASSETS.get(name)
    if data is None:
        return Response("There is no such file.\n", 404, content_type="text/plain", headers=SAFE)
    response = Response(data, content_type=_KINDS[Path(name).suffix], headers=SAFE)
    if request.args.get("v") == _HASHES[name]:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


# ---------------------------------------------------------------- what templates use


def weight(*texts: str | None) -> int:
    """About how many bytes of HTML texts take that are a link, its title and its words."""
    return sum(_weight(text) for text in texts if text)


def _weight(text: str) -> int:
    if _PLAIN.fullmatch(text):
        return 3 * len(text)
    return len(quote(text)) + 2 * html_length(text)


def html_length(text: str) -> int:
    """The bytes of a text in HTML."""
    return len(text) if _UNESCAPED.fullmatch(text) else len(escape(text).encode())


def within(things: Iterable[Thing], cost: Callable[[Thing], int], most: int) -> Iterator[Thing]:
    """Yield things from the first on, while they cost no more than ``most`` together; the first in any case.

    So a page stays short, however long the texts of strangers are.
    """
    spent = 0
    for number, thing in enumerate(things):
        spent += cost(thing)
        if number and spent > most:
            return
        yield thing


def asset_url(name: str) -> str:
    return f"static/{name}?v={_HASHES[name]}"


def asset_integrity(name: str) -> str:
    """The digest that a script must have, or the browser does not run it (W3C Subresource Integrity)."""
    return f"sha384-{_INTEGRITY[name]}"


@lru_cache(maxsize=512)
def query(**values: Any) -> str:
    """A query string of those values that are set."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "")})


_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_templates.filters |= {
    "seconds": shown.shown_seconds,
    "number": shown.shown_number,
    "money": shown.shown_money,
    "clock": shown.shown_clock,
    "moment": shown.shown_moment,
    "iso": shown.shown_iso,
    "day": shown.shown_day,
    "json": shown.shown_json,
    "name": elements.name_element,
    "time": elements.time_element,
    "date": elements.date_element,
    "kind": elements.kind_element,
    "state": elements.state_element,
    "reason": elements.reason_element,
    "candidate": elements.candidate_element,
    "parameter": elements.parameter,
}
_templates.globals |= {"asset_url": asset_url, "asset_integrity": asset_integrity, "query": query}
