"""Every key source: it finds the caller of a digest, counts keys, and has a version.

A new source is one more entry of ``SOURCES``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from kit.calls import make_settings

from flask_gateway.app.build import build
from flask_gateway.auth.api_keys import keys_of
from flask_gateway.config.schema import KeySettings
from flask_gateway.model.call import Caller
from flask_gateway.model.protocols import KeySource

#: Makes a source of the keys, each with the fields of its caller.
Make = Callable[[dict[str, dict[str, Any]]], KeySource]


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


def settings_keys(keys: dict[str, dict[str, Any]]) -> KeySource:
    table = [
        KeySettings(
            id=of["id"],
            digest=digest(key),
            rate_limit_per_minute=of.get("rate_limit"),
            models=of.get("models"),
        )
        for key, of in keys.items()
    ]
    return keys_of(make_settings(keys=tuple(table), rate_limit_per_minute=60))


SOURCES = [pytest.param(settings_keys, id="settings")]
KEYS = {"first": {"id": "a", "rate_limit": 7}, "second": {"id": "b", "models": frozenset({"m*", "n"})}}


@pytest.mark.parametrize("make", SOURCES)
class TestEverySource:
    def test_an_unknown_digest_has_no_caller(self, make: Make) -> None:
        keys = make(KEYS)
        for unknown in (digest("third"), bytes(32), b"", digest("first")[:31], b"first"):
            assert keys.lookup(unknown) is None

    def test_a_source_without_keys_knows_nobody(self, make: Make) -> None:
        keys = make({})
        assert (len(keys), keys.lookup(digest("first"))) == (0, None)
        assert len(keys.seed) >= 16

    def test_a_known_digest_has_the_caller_that_admission_reads(self, make: Make) -> None:
        keys = make(KEYS)
        first, second = keys.lookup(digest("first")), keys.lookup(digest("second"))
        assert isinstance(first, Caller)
        assert isinstance(second, Caller)
        assert (first.id, first.rate_limit, first.models) == ("a", 7, None)
        assert second.may_call("many")
        assert not second.may_call("other")

    def test_it_counts_keys(self, make: Make) -> None:
        assert len(make(KEYS)) == 2

    @pytest.mark.parametrize(
        "other",
        [
            {},
            {"first": KEYS["first"]},
            {**KEYS, "third": {"id": "c"}},
            {**KEYS, "first": {"id": "a", "rate_limit": 8}},
            {**KEYS, "first": {"id": "a", "rate_limit": 7, "models": frozenset({"m"})}},
            {**KEYS, "first": {"id": "c", "rate_limit": 7}},
            {"third": KEYS["first"], "second": KEYS["second"]},
        ],
    )
    def test_the_version_differs_when_an_answer_may_differ(self, make: Make, other: Any) -> None:
        assert make(other).version != make(KEYS).version

    def test_equal_sources_have_one_version_and_one_seed(self, make: Make) -> None:
        one, same = make(KEYS), make(dict(KEYS))
        assert (one.version, one.seed) == (same.version, same.seed)
        assert one.seed != make({}).seed

    def test_a_lookup_takes_no_lock(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        keys, known = make(KEYS), digest("first")
        taken: list[object] = []

        def watch(frame: Any, event: str, called: Any) -> None:
            owner = getattr(called, "__self__", None)
            if event == "c_call" and isinstance(owner, type(threading.Lock()) | type(threading.RLock())):
                taken.append(called)

        sys.setprofile(watch)
        try:
            assert keys.lookup(known) is not None
        finally:
            sys.setprofile(None)
        assert taken == []


def test_a_models_list_of_none_and_an_empty_one_have_two_versions() -> None:
    assert (
        settings_keys({"k": {"id": "a"}}).version
        != settings_keys({"k": {"id": "a", "models": frozenset()}}).version
    )


def test_the_gateway_counts_callers_by_its_key_source() -> None:
    settings = make_settings()
    several, single = build(settings), build(msgspec.structs.replace(settings, keys=settings.keys[:1]))
    assert (len(several.keys), len(single.keys)) == (2, 1)
    shares = []
    for gateway in (several, single):
        gateway.inflight.limit_threads(100)
        shares.append(gateway.inflight._most[0])
    assert shares == [75, 100]
