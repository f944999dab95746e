"""The limits of a call in front of every route: its end user, and that no operation is missed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.calls import AUTH, make_settings
from kit.planted import KEY
from kit.waiting import until

from flask_gateway import create_app
from flask_gateway.config.schema import KeySettings, LedgerSettings, ModelSettings
from flask_gateway.ledger import database
from flask_gateway.model.call import GEMINI, HEARING, SESSIONS, WITH_MODEL, Operation
from flask_gateway.model.limits import Limits, OwnerLimits
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.call_limits import end_user

BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "completions": {"prompt": "Hello"},
    "embeddings": {"input": "Hello"},
    "responses": {"input": "Hello"},
    "moderations": {"input": "Hello"},
    "messages": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100},
    "rerank": {"query": "Hello", "documents": ["a"]},
    "audio/speech": {"input": "Hello"},
    "images/generations": {"prompt": "A fox"},
    "images/edits": {"prompt": "A fox"},
    "images/variations": {},
}


def client(policy: OwnerLimits, **changes: Any) -> Any:
    key = KeySettings(id="web", digest=sha256(KEY.encode()).digest(), policy=policy)
    store = changes.pop("store", None) or MemoryStore()
    return create_app(make_settings(keys=(key,), **changes), store).test_client()


def post(client: Any, path: str = "chat/completions", **more: Any) -> Any:
    headers = {**AUTH, **more.pop("headers", {})}
    return client.post(f"/v1/{path}", headers=headers, json={"model": "mock", **BODIES[path], **more})


@pytest.mark.parametrize("path", sorted(set(WITH_MODEL) - {Operation.COUNT, *GEMINI, *HEARING, *SESSIONS}))
def test_every_route_is_limited(path: str) -> None:
    answer = post(client(OwnerLimits(own=Limits(tokens=1))), path)
    assert answer.status_code == 429
    error = answer.json["error"]
    kind = "rate_limit_error" if path == "messages" else "tokens"
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", kind)
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-ratelimit-limit-tokens"] == "1"


def test_answers_say_what_is_left() -> None:
    web = client(OwnerLimits(own=Limits(tokens=10_000)))
    first = int(post(web).headers["x-ratelimit-remaining-tokens"])
    second = int(post(web).headers["x-ratelimit-remaining-tokens"])
    assert 8000 < first < 10_000
    assert second < 9_950


def test_end_users_have_limits_of_their_own_and_one_may_be_required() -> None:
    web = client(
        OwnerLimits(users=Limits(requests=1), named_users={"bob": Limits(requests=2)}, require_user=True)
    )
    refused = post(web)
    assert (refused.status_code, refused.json["error"]["code"]) == (400, "user_required")
    assert post(web, user="alice").status_code == 200
    assert post(web, user="carol").status_code == 200
    again = post(web, headers={"x-gateway-user": "alice"})
    assert again.status_code == 429
    assert "The end user 'alice'" in again.json["error"]["message"]
    assert [post(web, safety_identifier="bob", user="x").status_code for _ in range(3)] == [200, 200, 429]


def test_keys_that_do_not_tell_users_apart_do_not_look_for_them() -> None:
    web = client(OwnerLimits(own=Limits(requests=5)))
    assert post(web, user="alice").status_code == 200


def test_an_alias_counts_as_its_model() -> None:
    from kit.calls import single_candidate

    model = ModelSettings(name="fast", tiers=(single_candidate("mock", "mock"),), aliases=("quick",))
    web = client(OwnerLimits(models={"fast": Limits(requests=1)}), models=(model,))
    assert [post(web, model=name).status_code for name in ("quick", "fast", "mock")] == [200, 429, 200]


@pytest.mark.parametrize(
    ("header", "fields", "found"),
    [
        (None, {}, ""),
        ("alice", {"user": "bob"}, "alice"),
        (" ", {"user": "bob"}, "bob"),
        (None, {"user": "bob", "safety_identifier": "carol"}, "carol"),
        (None, {"user": 5, "safety_identifier": ""}, ""),
        (None, {"user": "x" * 64}, "x" * 64),
        (None, {"user": "ünï"}, "ünï"),
    ],
)
def test_the_end_user_of_a_request(header: str | None, fields: dict[str, Any], found: str) -> None:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    assert end_user(lambda name: header, raw) == found


def test_long_and_strange_names_become_digests() -> None:
    names = ["x" * 65, "x" * 66, "a\nb", "\u202eevil"]
    raw = [{"user": msgspec.Raw(msgspec.json.encode(name))} for name in names]
    found = [end_user(lambda name: None, one) for one in raw]
    assert all(name.startswith("sha256-") and len(name) == 39 for name in found)
    assert len(set(found)) == len(names)


def test_metadata_names_the_end_user_only_where_the_key_says_so() -> None:
    """Anthropic's field comes after the header; what is no text is nobody."""
    one = Limits(requests=1)
    deaf, told = client(OwnerLimits(users=one)), client(OwnerLimits(users=one, user_from_metadata=True))
    alice = {"metadata": {"user_id": "alice"}}
    assert [post(deaf, "messages", **alice).status_code for _ in range(2)] == [200, 200]
    assert [post(told, "messages", **alice).status_code for _ in range(2)] == [200, 429]
    assert post(told, "messages", **alice, headers={"x-gateway-user": "bob"}).status_code == 200
    for metadata in ({}, {"user_id": 7}, [], "x"):
        assert (
            end_user(
                lambda name: None, {"metadata": msgspec.Raw(msgspec.json.encode(metadata))}, metadata=True
            )
            == ""
        )


def test_end_users_are_kept_as_digests(tmp_path: Path) -> None:
    """Limits by name hold, two gateways of one directory agree, and no file has the name."""
    limits = OwnerLimits(users=Limits(requests=1), named_users={"planted-alice": Limits(requests=2)})
    ledger = LedgerSettings(data=str(tmp_path), users="digest")
    store = MemoryStore()
    webs = [client(limits, ledger=ledger, store=store) for _ in range(2)]
    statuses = [post(web, user="planted-alice").status_code for web in (*webs, webs[0])]
    assert statuses == [200, 200, 429]
    assert [post(web, user="planted-bob").status_code for web in webs] == [200, 429]
    assert not [key for key, _ in store.scan("requests:") if "planted" in key]
    assert until(lambda: len(users_in(tmp_path)) == 2)
    assert {len(user) for user in users_in(tmp_path)} == {16}
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"planted-" not in kept
    assert (tmp_path / "users.key").stat().st_mode & 0o777 == 0o600


def users_in(data: Path) -> set[str]:
    try:
        with closing(database.read(data / database.NAME)) as db:
            return {user for (user,) in db.execute("SELECT user FROM charge").fetchall()}
    except sqlite3.Error:
        return set()
