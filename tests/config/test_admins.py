"""Tests how an admin is found by the digest of a key, and what signs its sessions."""

from __future__ import annotations

from flask_gateway.config.admins import AdminSettings, Role, admin_of, session_secret

ONE, TWO = AdminSettings(name="one", digest=b"1" * 32), AdminSettings(name="two", digest=b"2" * 32)


def test_an_admin_is_found_by_the_whole_digest_alone() -> None:
    assert admin_of((ONE, TWO), b"2" * 32) is TWO
    assert admin_of((ONE, TWO), b"2" * 31) is None
    assert admin_of((), b"1" * 32) is None
    assert ONE.role is Role.ADMIN


def test_sessions_of_two_keys_have_two_secrets_and_neither_is_the_keys_digest() -> None:
    assert session_secret("a") == session_secret("a") != session_secret("b")
    assert session_secret("a") != ONE.digest
