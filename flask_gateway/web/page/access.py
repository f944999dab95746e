"""Lets admins onto the page. ``hooks.py`` calls :func:`admit` before every path of the blueprint.

An admin has a session. Everybody else gets the form of the login, or 401 if a script asks. A caller's key
does not open the page. A hook of the blueprint itself would make every call of a model slower
(``fast_flask.py``).
"""

from __future__ import annotations

import logging
import os
import time
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

from flask import Blueprint, Response, abort, g, request

from ...config.admins import AdminSettings, Role, admin_of
from ...model.errors import UnknownUrl
from ...state.contract import StoreError
from ...state.store import state_key
from .. import paths
from ..client_address import shown_address_of
from ..request_state import gateway, request_state
from . import session
from .session import Session

log = logging.getLogger(__name__)

blueprint = Blueprint("gateway_page", __name__, url_prefix="/ui")
#: The beginning of every path, as a proxy's rule sees it.
PREFIX = "/ui"
COOKIE = "gateway_page"
#: Endpoints without a session.
_OPEN = frozenset({"gateway_page.login", "gateway_page.log_in", "gateway_page.asset"})
#: Forms that a viewer may send, too.
_HARMLESS = frozenset({"gateway_page.log_out"})
#: The largest form, bytes, and its most fields.
_MOST_FORM, _MOST_FIELDS = 16_384, 60


class Visitor(NamedTuple):
    """The admin of this request."""

    admin: AdminSettings
    session: Session

    @property
    def name(self) -> str:
        return self.admin.name

    @property
    def may_change(self) -> bool:
        return self.admin.role is Role.ADMIN

    @property
    def form_token(self) -> str:
        return session.form_token(self.session, signing_key(self.admin))


#: Signs the sessions of admins of whom only a digest is known, where the workers share no memory.
_OWN_SECRET = os.urandom(32)


def signing_key(admin: AdminSettings) -> bytes:
    """The key that signs the sessions of an admin. It changes with the admin's own key."""
    rings = gateway().rings
    secret = admin.secret or (rings.secret if rings else _OWN_SECRET)
    return session.signing_key(secret + admin.digest)


def admin_with(key: str) -> AdminSettings | None:
    """The admin whose key this is."""
    return admin_of(gateway().settings.admins, sha256(key.encode("utf-8", "surrogateescape")).digest())


def login_key() -> bytes:
    """Signs the form of the login, on every worker alike."""
    return session.signing_key(b"".join(signing_key(one) for one in gateway().settings.admins))


def admit() -> None:
    """Find the admin of the request, or refuse it with a response of the page.

    :raises UnknownUrl: the path is not spelled as a proxy's rule would see it.
    """
    environ = request.environ
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or request.path)
    if not target.startswith(PREFIX):
        raise UnknownUrl(paths.unknown(request.method, request.path))
    g.visitor = None
    if request.endpoint == "gateway_page.asset":
        return
    g.visitor = visitor = _visitor()
    if request.endpoint in _OPEN:
        return
    if visitor is None:
        abort(_login_first())
    if request.method == "POST":
        _check_form(visitor)


def _visitor() -> Visitor | None:
    cookie = request.cookies.get(COOKIE)
    name = session.admin_named(cookie)
    for admin in gateway().settings.admins:
        if admin.name == name:
            known = session.read(cookie, signing_key(admin), time.time())
            return Visitor(admin, known) if known and not _has_left(known) else None
    return None


def _login_first() -> Response:
    """Send a browser to the login, and tell a script that the session is over."""
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or request.method != "GET":
        return plain("The session is over. Log in again.", 401)
    name = request.path.removeprefix(PREFIX).strip("/")
    query = request.query_string.decode("latin-1")
    there = quote(name + (f"?{query}" if query else ""), safe="")
    # Every page is one level below /ui, and these addresses are relative: any prefix of a proxy fits.
    return redirect(f"login?next={there}" if request.path.startswith(f"{PREFIX}/") else "ui/login")


def _check_form(visitor: Visitor) -> None:
    """Refuse a form of another site, and one that a viewer may not send. Scripts send a header."""
    token = form().get("csrf") or request.headers.get("X-CSRF-Token", "")
    if not _same_site() or not session.is_form_token(token, visitor.session, signing_key(visitor.admin)):
        abort(plain("This form is not of your session. Load the page again and repeat it.", 403))
    if not visitor.may_change and request.endpoint not in _HARMLESS:
        abort(plain("You may look at the page and not change anything: your role is viewer.", 403))


def _same_site() -> bool:
    return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")


def is_foreign() -> bool:
    """Whether a browser says that another site sent the request."""
    return not _same_site()


def form() -> dict[str, str]:
    """The fields of the form that was sent. A field that comes twice has its last value."""
    if "form" not in g:
        g.form = dict(_fields())
    fields: dict[str, str] = g.form
    return fields


def _fields() -> list[tuple[str, str]]:
    length = request.content_length or 0
    if not 0 < length <= _MOST_FORM or request.mimetype != "application/x-www-form-urlencoded":
        return []
    try:
        body = request.environ["wsgi.input"].read(length).decode()
        return parse_qsl(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except (ValueError, OSError):
        return []


def visitor() -> Visitor:
    """The admin of this request; only where :func:`admit` required one."""
    known: Visitor = g.visitor
    return known


# ---------------------------------------------------------------- sessions that have ended


def _key(sid: str) -> str:
    return state_key("page_left", sid)


def _has_left(known: Session) -> bool:
    """Whether the session has logged out. While the store is broken, it counts as going on."""
    try:
        return gateway().store.read(_key(known.sid)) is not None
    except StoreError:
        return False


def leave(known: Session) -> bool:
    """End a session on all workers; ``False`` if the store is broken."""
    try:
        gateway().store.update(_key(known.sid), lambda old, now: ((1,), None), session.LONGEST)
    except StoreError:
        return False
    return True


# ---------------------------------------------------------------- answers


def redirect(location: str) -> Response:
    """A redirect to a relative address, by GET."""
    return Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})


def plain(text: str, status: int) -> Response:
    return Response(text + "\n", status, content_type="text/plain; charset=utf-8", headers=SAFE)


#: The headers of every answer of the page.
SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_secure() -> bool:
    """Whether the browser came by https, by the word of a proxy. A lie harms its own sender alone."""
    return request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"


def tell(action: str, subject: str = "", name: str = "") -> None:
    """Log what an admin did, and keep it as a note. It must not have a secret.

    :param name: of the admin; empty: of this session, or nobody.
    """
    known = g.visitor
    name = name or (known.name if known else "nobody")
    place = shown_address_of(request.environ) or "an unknown address"
    what = f"{action} {subject!r}" if subject else action
    log.warning("page: %s: %s (from %s, request %s)", name, what, place, request_state().ids.request)
