"""Logs admins in and out."""

from __future__ import annotations

import re
import secrets
import time
from functools import partial
from typing import Any

from flask import Response, g, request

from ...model.errors import TooManyFailedKeys, Unauthorized
from ..client_address import address_of
from ..request_state import gateway, request_state
from . import session
from .access import (
    COOKIE,
    admin_with,
    form,
    is_foreign,
    is_secure,
    leave,
    login_key,
    redirect,
    signing_key,
    tell,
    visitor,
)
from .rendering import action, page, render, set_session

#: The cookie that comes back only if the browser accepts cookies, and was shown the form.
_NONCE = "gateway_page_login"
#: Where a login may lead: to a page, with a query. Anything with a slash or a scheme is another place.
_NEXT = re.compile(r"[a-z][a-z0-9.]*(?:\?[!-\[\]-~]*)?", re.ASCII)
#: The same words for a key that is unknown and for a caller's.
_WRONG = "This key does not open the page. Use the key of an admin, not one that calls models."
_BLOCKED = "Cookies are blocked: your browser sent none back. Allow cookies for this site, then log in."


def next_page(wanted: str | None) -> str:
    """Where a login leads: a page by its relative address, never another site."""
    return wanted if wanted and len(wanted) < 1000 and _NEXT.fullmatch(wanted) else "overview"


@page("login")
def login() -> Response:
    wanted = next_page(request.args.get("next"))
    return redirect(wanted) if g.visitor else _form(wanted)


@action("login")
def log_in() -> Response:
    wanted, nonce = next_page(form().get("next")), request.cookies.get(_NONCE, "")
    if not nonce:
        return _form(wanted, _BLOCKED, 400)
    token = form().get("token", "")
    if is_foreign() or not session.is_login_token(token, nonce, login_key(), time.time()):
        return _form(wanted, "This form is too old. Send it again.", 400)
    key = form().get("key", "").strip()
    admin = admin_with(key)
    if admin is None:
        return _refused(key, wanted)
    known = session.begin(admin.name, time.time())
    response = redirect(wanted)
    set_session(response, known, signing_key(admin))
    response.delete_cookie(_NONCE, path=None)
    tell("logged in", name=admin.name)
    return response


def _refused(key: str, wanted: str) -> Response:
    """Count a wrong key for the address, as wrong keys of calls are counted."""
    tell("a wrong key at the login")
    try:
        gateway().key_guesses.identify(
            key or "-", partial(address_of, request.environ), request_state().started
        )
    except TooManyFailedKeys as error:
        wait = error.retry_after or 0
        refused = _form(wanted, f"Too many wrong keys from your address. Wait {wait:.0f} s.", 429)
        refused.headers["Retry-After"] = f"{wait:.0f}"
        return refused
    except Unauthorized:
        pass
    return _form(wanted, _WRONG, 401)


@action("logout")
def log_out() -> Response:
    known = leave(visitor().session)
    tell("logged out" if known else "logged out; the store is broken, so other workers may not know it")
    response = redirect("login")
    response.delete_cookie(COOKIE, path=None)
    return response


def _form(wanted: str, problem: str = "", status: int = 200) -> Response:
    nonce = secrets.token_urlsafe(18)
    token = session.login_token(nonce, login_key(), time.time())
    shown: dict[str, Any] = {"wanted": wanted, "token": token, "problem": problem}
    response = render("login.html", title="Log in", status=status, **shown)
    response.set_cookie(_NONCE, nonce, path=None, httponly=True, samesite="Strict", secure=is_secure())
    return response
