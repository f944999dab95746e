"""The present keys: in the background, stale while the provider is away, and new ones within a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.token_issuer import SigningKey, signing_key
from kit.waiting import until

from flask_gateway.jwt_auth import current_keys
from flask_gateway.jwt_auth.current_keys import BURST, MOST_WAITING, PERIOD, Ages, CurrentKeys
from flask_gateway.jwt_auth.kept_keys import KeyFile
from flask_gateway.jwt_auth.key_set import KeySet, key_set_of
from flask_gateway.jwt_auth.provider import ProviderFault
from flask_gateway.model.errors import KeysUnavailable

ALLOWED = frozenset({"ES256"})
ONE, TWO = signing_key("1"), signing_key("2")


def key_set(*keys: SigningKey) -> KeySet:
    return key_set_of({"keys": [key.jwk for key in keys]}, ALLOWED)


class World:
    """A provider and a clock. ``answer`` is what the next fetch returns or raises."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.answer: KeySet | Exception = key_set(ONE)
        self.fetches = 0
        self.gate = threading.Event()
        self.gate.set()
        self.made: list[CurrentKeys] = []

    def fetch(self) -> KeySet:
        self.fetches += 1
        answer = self.answer
        self.gate.wait(20)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def keys(self, kept: KeyFile | None = None) -> CurrentKeys:
        ages = Ages(refresh=600.0, most=3600.0)
        file = (kept, ALLOWED) if kept else None
        self.made.append(CurrentKeys("https://login.example", self.fetch, ages, file, lambda: self.now))
        return self.made[-1]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.gate.set()
    for keys in world.made:
        keys.stop()


def test_the_first_call_waits_for_the_first_fetch(world: World) -> None:
    assert world.keys().find("1", "ES256")
    assert world.fetches == 1


def test_no_keys_at_all(world: World) -> None:
    world.answer = ProviderFault("it is away")
    with pytest.raises(KeysUnavailable) as refused:
        world.keys().find("1", "ES256")
    assert refused.value.retry_after


def test_a_fetch_that_raises_something_else_does_not_hold_calls(world: World) -> None:
    world.answer = RecursionError("deep")
    with pytest.raises(KeysUnavailable):
        world.keys().find("1", "ES256")


def test_keys_are_refreshed_by_age_and_served_stale(world: World) -> None:
    keys = world.keys()
    assert keys.find("1", "ES256")
    keys.turn()
    assert world.fetches == 1
    world.now, world.answer = world.now + 601, ProviderFault("it is away")
    keys.turn()
    assert world.fetches == 2
    assert keys.find("1", "ES256")  # the fetch failed, the key serves on
    keys.turn()
    assert world.fetches == 3  # the next round tries again
    world.now += 3000
    with pytest.raises(KeysUnavailable):  # too old to be trusted
        keys.find("1", "ES256")
    world.answer = key_set(ONE)
    keys.turn()
    assert keys.find("1", "ES256")


def test_an_unknown_id_is_fetched_while_the_call_waits(world: World) -> None:
    keys = world.keys()
    assert keys.find("1", "ES256")
    world.answer = key_set(TWO)
    assert keys.find("2", "ES256")
    assert keys.find("1", "ES256") is None
    assert len(keys.present().keys) == 1  # type: ignore[union-attr]


def test_unknown_ids_are_fetched_within_a_bound(world: World) -> None:
    keys = world.keys()
    assert keys.find("1", "ES256")
    for number in range(50):
        assert keys.find(f"x{number}", "ES256") is None
    assert world.fetches == 1 + BURST
    assert keys.find("1", "ES256")
    world.now += PERIOD
    for number in range(50):
        assert keys.find(f"y{number}", "ES256") is None
    assert world.fetches == 2 + BURST


def test_a_clock_that_goes_back_opens_no_flood(world: World) -> None:
    keys = world.keys()
    assert keys.find("1", "ES256")
    for step in range(50):
        world.now -= 100 * step
        keys.find("x", "ES256")
    assert world.fetches <= 1 + BURST


def test_an_unknown_id_while_the_provider_is_away_can_be_tried_again(world: World) -> None:
    keys = world.keys()
    assert keys.find("1", "ES256")
    world.answer = ProviderFault("it is away")
    with pytest.raises(KeysUnavailable):
        keys.find("2", "ES256")
    assert keys.find("1", "ES256")


def start(calls: int, work: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(calls)]
    for thread in threads:
        thread.start()
    return threads


def test_many_calls_share_one_fetch_and_few_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_keys, "WAIT", 60.0)
    keys = world.keys()
    assert keys.find("1", "ES256")
    world.gate.clear()
    world.answer = key_set(TWO)
    results: list[object] = []

    def call() -> None:
        try:
            results.append(keys.find("2", "ES256"))
        except KeysUnavailable as error:
            results.append(error)

    threads = start(MOST_WAITING + 5, call)
    try:
        assert until(lambda: len(results) == 5), results  # these were sent away, the others wait
        assert all(isinstance(result, KeysUnavailable) for result in results)
    finally:
        world.gate.set()
        for thread in threads:
            thread.join()
    assert sum(not isinstance(result, KeysUnavailable) for result in results) == MOST_WAITING
    assert world.fetches <= 3


def test_a_call_waits_for_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_keys, "WAIT", 0.05)
    world.gate.clear()
    with pytest.raises(KeysUnavailable):
        world.keys().find("1", "ES256")


def test_kept_keys_serve_while_the_provider_is_away(world: World, tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    assert world.keys(file).find("1", "ES256")
    assert until(file.path.exists)
    world.answer = ProviderFault("it is away")
    assert world.keys(file).find("1", "ES256")
    world.now += 3601
    with pytest.raises(KeysUnavailable):
        world.keys(file).find("1", "ES256")
