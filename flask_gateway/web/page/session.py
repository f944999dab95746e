"""Signs and reads the cookie of an admin's session, and the tokens of forms. Pure: the time is an argument.

A session names an admin and carries no key. It is signed with a key derived from the admin's, so all workers
and machines agree on it, and changing the admin's key ends it. The page must open while the store is broken,
so no store holds sessions; it only holds the ids of those that have logged out.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from hashlib import sha256
from typing import NamedTuple

import msgspec

#: How long a session lasts, how long without a request, and after how long its cookie is renewed, seconds.
LONGEST, IDLE, RENEW = 12 * 3600, 3600, 300
#: How long the form of a login may be looked at before it is sent, seconds.
FORM_AGE = 3600
#: The most characters of a cookie or a token that are looked at.
_MOST = 600


class Session(NamedTuple):
    """One admin's session.

    :param admin: the admin's name. :param sid: identifies the session.
    :param began: when the admin logged in, seconds since the epoch. :param renewed: when it was last signed.
    """

    admin: str
    sid: str
    began: int
    renewed: int


def signing_key(secret: bytes) -> bytes:
    """Derive the key that signs sessions from something only the gateway and the admin know."""
    return hmac.digest(secret, b"flask-gateway: sessions of the page", sha256)


def begin(admin: str, now: float) -> Session:
    """A new session. :param now: seconds since the epoch."""
    return Session(admin, secrets.token_urlsafe(18), int(now), int(now))


def written(session: Session, key: bytes) -> str:
    """The value of the cookie."""
    payload = base64.urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=")
    return f"{payload.decode()}.{_mac(key, b'session', payload)}"


def admin_named(cookie: str | None) -> str | None:
    """The name of the admin that a cookie claims to be of. It is not checked."""
    session = _payload(cookie)
    return session.admin if session else None


def read(cookie: str | None, key: bytes, now: float) -> Session | None:
    """The session of a cookie; ``None`` if it is forged, over or malformed.

    :param now: seconds since the epoch.
    """
    session = _payload(cookie)
    if session is None or cookie is None:
        return None
    payload, _, mac = cookie.rpartition(".")
    if not hmac.compare_digest(_mac(key, b"session", payload.encode()), mac):
        return None
    fresh = now - IDLE < session.renewed <= now + RENEW and now - LONGEST < session.began <= now + RENEW
    return session if fresh else None


def renewed(session: Session, now: float) -> Session | None:
    """The session to sign again; ``None`` while its cookie is young enough."""
    return session._replace(renewed=int(now)) if now - session.renewed > RENEW else None


def _payload(cookie: str | None) -> Session | None:
    if not cookie or len(cookie) > _MOST or not cookie.isascii():
        return None
    payload = cookie.rpartition(".")[0]
    try:
        data = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=Session)
    except (ValueError, msgspec.MsgspecError):
        return None


def form_token(session: Session, key: bytes) -> str:
    """The token of every form of the session, so that no other site can send one (CSRF)."""
    return _mac(key, b"form", session.sid.encode())


def is_form_token(token: str, session: Session, key: bytes) -> bool:
    """Whether a form is this session's."""
    return token.isascii() and hmac.compare_digest(form_token(session, key), token)


def login_token(nonce: str, key: bytes, now: float) -> str:
    """The token of the form of the login. :param nonce: of the cookie that is set with it."""
    return f"{int(now)}.{_mac(key, b'login', f'{int(now)} {nonce}'.encode())}"


def is_login_token(token: str, nonce: str, key: bytes, now: float) -> bool:
    """Whether the form of the login was made for this browser, and not too long ago."""
    at, _, mac = token[:_MOST].partition(".")
    if not (at.isascii() and at.isdigit() and len(at) < 12 and mac.isascii() and nonce.isascii()):
        return False
    right = hmac.compare_digest(_mac(key, b"login", f"{at} {nonce[:_MOST]}".encode()), mac)
    return right and now - FORM_AGE < int(at) <= now + RENEW


def _mac(key: bytes, purpose: bytes, data: bytes) -> str:
    mac = hmac.digest(key, purpose + b"\0" + data, sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
