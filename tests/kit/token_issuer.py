"""Issues JSON Web Tokens and shows the keys that verify them, as a login provider does, well or badly."""

from __future__ import annotations

import json
import time
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from kit.local_server import LocalServer

AUDIENCE = "gateway"
#: How the next answers look, by the mode of the issuer: a status, further headers, a body.
BAD_ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "busy": (503, {}, b"{}"),
    "page": (200, {}, b"<html>Sign in</html>"),
    "huge": (200, {}, b"[" + b"0," * 400_000 + b"0]"),
    "deep": (200, {}, b"[" * 100_000 + b"]" * 100_000),
    "moved": (302, {"location": "file:///etc/passwd"}, b""),
    "nothing": (200, {}, b'{"keys": []}'),
    "list": (200, {}, b"[]"),
    "secret": (200, {}, b'{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0", "alg": "HS256"}]}'),
    "nonsense": (
        200,
        {},
        b'{"keys": [1, null, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": 1, "y": []}]}',
    ),
}


class SigningKey(NamedTuple):
    """A private key, and its public part as the key set shows it."""

    kid: str | None
    algorithm: str
    private: Any
    jwk: dict[str, Any]


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key. Making one is slow, so the tests share it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def signing_key(kid: str | None = "1", algorithm: str = "ES256", private: Any = None) -> SigningKey:
    """A new key for signatures."""
    if private is None:
        curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
        if algorithm in curves:
            private = ec.generate_private_key(curves[algorithm]())
        else:
            private = ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa_key()
    public = private.public_key()
    jwk = dict(get_default_algorithms()[algorithm].to_jwk(public, as_dict=True))
    jwk.pop("key_ops", None)
    jwk |= {"use": "sig", "alg": algorithm} | ({} if kid is None else {"kid": kid})
    return SigningKey(kid, algorithm, private, jwk)


def signed(key: SigningKey, claims: dict[str, Any], **header: Any) -> str:
    """A token with those claims and further fields in its header."""
    fields = ({} if key.kid is None else {"kid": key.kid}) | header
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers=fields)


class TokenIssuer(LocalServer):
    """A provider on a free port. Use it as a context manager.

    :ivar keys: the last one signs.
    :ivar mode: ``ok``; one of :data:`BAD_ANSWERS`; ``hang``; ``drip`` sends a byte now and then; ``stranger``
        names another issuer.
    :ivar asked: the paths that were fetched.
    """

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__()
        self.keys = list(keys or (signing_key(),))
        self.mode = "ok"
        self.asked: list[str] = []

    def claims(self, subject: str = "alice", **changed: Any) -> dict[str, Any]:
        """Good claims. A changed one that is ``None`` is left out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + 300,
            "groups": ["staff"],
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(self, subject: str = "alice", **changed: Any) -> str:
        """A good token of the last key, or with changed claims."""
        return signed(self.keys[-1], self.claims(subject, **changed))

    def rotate(self, key: SigningKey) -> None:
        """Sign with a new key from now on, and forget the others."""
        self.keys = [key]

    def options(self, **changed: Any) -> dict[str, Any]:
        """Options of the plugin for this provider."""
        return {
            "issuer": self.url,
            "audience": AUDIENCE,
            "algorithms": ["ES256", "RS256"],
            "prefix": "jwt",
            "groups": {"staff": {}},
        } | changed

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        discovery = handler.path.endswith("openid-configuration")
        if self.mode in ("hang", "drip"):
            self._slow(handler)
            return
        if self.mode in BAD_ANSWERS and not (discovery and self.mode in ("nothing", "secret", "nonsense")):
            status, headers, body = BAD_ANSWERS[self.mode]
        else:
            status, headers, body = 200, {}, json.dumps(self._document(discovery)).encode()
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _document(self, discovery: bool) -> dict[str, Any]:
        if discovery:
            issuer = "https://evil.example" if self.mode == "stranger" else self.url
            return {"issuer": issuer, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [key.jwk for key in self.keys]}

    def _slow(self, handler: BaseHTTPRequestHandler) -> None:
        """Send nothing, or a byte at a time, until the other side has had enough."""
        while not self._released.wait(0.05):
            if self.mode == "drip":
                try:
                    handler.wfile.write(b"H")
                except OSError:
                    break
        handler.close_connection = True
