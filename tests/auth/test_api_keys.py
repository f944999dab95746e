"""Tests API keys: which caller a key belongs to, and where a request may carry it."""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256

import pytest

from flask_gateway.auth.api_keys import ApiKeyTable, identify
from flask_gateway.model.call import Caller
from flask_gateway.model.errors import AmbiguousCredentials, Unauthorized
from flask_gateway.web.auth import authenticate

CALLERS = ApiKeyTable({sha256(b"right").digest(): Caller("a", 1), sha256(b"second").digest(): Caller("b", 1)})


def who(**headers: str) -> str:
    return authenticate(
        {name.replace("_", "-"): value for name, value in headers.items()}.get, partial(identify, CALLERS)
    ).id


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": "wrong"},
        {"X_API_Key": ""},
        {"X_API_Key": "right "},
        {"X_API_Key": "right,right"},
        {"X_API_Key": "righ"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": "right"},
        {"Authorization": "Basic right"},
        {"Authorization": "Bearer right, Bearer right"},
        {"Authorization": "Basic cmlnaHQ=", "X_API_Key": "right"},
        {"X_API_Key": "\udcff\udcfe"},
        {"X_API_Key": "é"},
        {"X_API_Key": sha256(b"right").hexdigest()},
    ],
)
def test_an_unknown_key_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        who(**headers)
    assert caught.value.status == 401
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X_API_Key": "right"},
        {"Authorization": "Bearer right"},
        {"Authorization": "bearer right"},
        {"Authorization": "Bearer  right"},
        {"Authorization": "Bearer right", "X_API_Key": "right"},
        {"Authorization": "Bearer right", "X_API_Key": ""},
        {"Authorization": "Bearer", "X_API_Key": "right"},
        {"api_key": "right"},
        {"x_goog_api_key": "right"},
        {"api_key": "right", "Authorization": "Bearer right", "X_API_Key": "right"},
    ],
)
def test_a_known_caller(headers: dict[str, str]) -> None:
    assert who(**headers) == "a"


@pytest.mark.parametrize("second", ["second", "wrong"])
@pytest.mark.parametrize("place", ["X_API_Key", "api_key"])
def test_two_keys_that_differ_are_refused_even_if_both_are_known(place: str, second: str) -> None:
    with pytest.raises(AmbiguousCredentials):
        who(**{"Authorization": "Bearer right", place: second})
    with pytest.raises(AmbiguousCredentials):
        who(X_API_Key="right", api_key=second)


@pytest.mark.parametrize(
    ("headers", "query", "word"),
    [
        ({}, "key=right", "URL"),
        ({}, "alt=sse&api_key=right", "URL"),
        ({}, "api-key=right", "URL"),
        ({}, "access_token=right", "URL"),
        ({}, "monkey=1&key=", "No API key was given. Send it"),
    ],
)
def test_the_error_for_a_misplaced_key_says_where_to_send_it(
    headers: dict[str, str], query: str, word: str
) -> None:
    with pytest.raises(Unauthorized, match=re.escape(word)) as caught:
        authenticate(
            {name.replace("_", "-"): value for name, value in headers.items()}.get,
            partial(identify, CALLERS),
            query,
        )
    for place in ("Authorization: Bearer", "X-API-Key", "api-key"):
        assert place in caught.value.message


def test_the_table_does_not_keep_keys() -> None:
    assert "right" not in repr(vars(CALLERS))
