"""Sessions and tokens of forms: forged, old, of others, malformed."""

from __future__ import annotations

import pytest

from flask_gateway.web.page import session
from flask_gateway.web.page.session import IDLE, LONGEST, RENEW

KEY, OTHER, NOW = session.signing_key(b"a"), session.signing_key(b"b"), 1_800_000_000.0
SESSION = session.begin("anna", NOW)
COOKIE = session.written(SESSION, KEY)


def test_a_cookie_is_read_with_its_key_alone() -> None:
    assert session.read(COOKIE, KEY, NOW) == SESSION
    assert session.read(COOKIE, OTHER, NOW) is None
    assert session.admin_named(COOKIE) == "anna"
    assert b"a" not in COOKIE.encode() or "anna" not in COOKIE


def test_a_session_ends_when_it_is_idle_and_at_its_longest() -> None:
    assert session.read(COOKIE, KEY, NOW + IDLE - 1) == SESSION
    assert session.read(COOKIE, KEY, NOW + IDLE + 1) is None
    late = SESSION._replace(renewed=int(NOW + LONGEST))
    assert session.read(session.written(late, KEY), KEY, NOW + LONGEST + 1) is None
    assert session.read(COOKIE, KEY, NOW - RENEW - 10) is None


def test_a_cookie_is_renewed_when_it_is_older() -> None:
    assert session.renewed(SESSION, NOW + RENEW - 1) is None
    again = session.renewed(SESSION, NOW + RENEW + 2)
    assert again is not None
    assert (again.sid, again.began, again.renewed) == (SESSION.sid, SESSION.began, int(NOW + RENEW + 2))


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        ".",
        "x",
        "x.y",
        COOKIE[:-1],
        COOKIE + "x",
        COOKIE.swapcase(),
        "é.é",
        "WzFd.x",
        "A" * 5000,
        "=.=",
    ],
)
def test_a_cookie_that_was_changed_is_none(cookie: str | None) -> None:
    assert session.read(cookie, KEY, NOW) is None


def test_a_form_belongs_to_its_session() -> None:
    token = session.form_token(SESSION, KEY)
    assert session.is_form_token(token, SESSION, KEY)
    for other in ("", "é", token[:-1], session.form_token(session.begin("anna", NOW), KEY)):
        assert not session.is_form_token(other, SESSION, KEY)
    assert not session.is_form_token(token, SESSION, OTHER)


def test_the_form_of_the_login_belongs_to_its_browser_and_becomes_old() -> None:
    token = session.login_token("nonce", KEY, NOW)
    assert session.is_login_token(token, "nonce", KEY, NOW + 60)
    assert not session.is_login_token(token, "other", KEY, NOW + 60)
    assert not session.is_login_token(token, "nonce", KEY, NOW + session.FORM_AGE + 1)
    for other in ("", ".", "1.2", "é.é", f"{int(NOW) + 5}.{token.partition('.')[2]}", "9" * 900):
        assert not session.is_login_token(other, "nonce", KEY, NOW)
