"""The memory of verified tokens: its bound, the end of a token, and keys that are trusted no more."""

from __future__ import annotations

from flask_gateway.jwt_auth.verified_tokens import VerifiedToken, VerifiedTokens
from flask_gateway.model.call import Caller

CALLER, KEY = Caller("jwt:alice", 0), b"k" * 32
TRUSTED = frozenset({KEY})


def test_a_token_is_known_until_it_ends() -> None:
    tokens = VerifiedTokens()
    tokens.put(b"1", VerifiedToken(CALLER, 100.0, KEY))
    assert tokens.get(b"1", 99.9, TRUSTED) is CALLER
    assert tokens.get(b"1", 100.0, TRUSTED) is None
    assert tokens.get(b"2", 99.9, TRUSTED) is None


def test_a_token_of_a_key_that_has_gone_is_not_known() -> None:
    tokens = VerifiedTokens()
    tokens.put(b"1", VerifiedToken(CALLER, 100.0, KEY))
    assert tokens.get(b"1", 0.0, frozenset()) is None


def test_the_oldest_goes_first() -> None:
    tokens = VerifiedTokens(most=2)
    for name in (b"1", b"2", b"1", b"3"):
        tokens.put(name, VerifiedToken(CALLER, 100.0, KEY))
    assert len(tokens) == 2
    assert [tokens.get(name, 0.0, TRUSTED) is not None for name in (b"1", b"2", b"3")] == [True, False, True]
