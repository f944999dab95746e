"""Tests that every failure of the primary store leaves calls answered, and that no call waits for it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

import pytest
from kit.stores import HandClock, Take, increment, put
from kit.waiting import until

from flask_gateway.state import StoreBusy, StoreError, StoreFull, open_store
from flask_gateway.state.fallback import FallbackStore, UnavailableStore
from flask_gateway.state.memory import MemoryStore


class Moody(MemoryStore):
    """Raises ``trouble`` while it is set, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(HandClock())
        self.trouble: Exception | None = None
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def _mood(self) -> None:
        self.asked += 1
        self.gate.wait(5)
        if self.trouble:
            raise self.trouble

    def now(self):
        self._mood()
        return super().now()

    def read(self, key):
        self._mood()
        return super().read(key)

    def update(self, key, change, ttl):
        self._mood()
        return super().update(key, change, ttl)

    def scan(self, prefix):
        self._mood()
        yield from super().scan(prefix)


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def primary() -> Moody:
    return Moody()


@pytest.fixture
def local() -> MemoryStore:
    return MemoryStore(HandClock(5))


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def store(primary: Moody, local: MemoryStore, seconds: Seconds) -> FallbackStore:
    return FallbackStore(primary, local, share=1, clock=seconds)


def settled(store: FallbackStore) -> None:
    """Wait until no probe is running."""
    assert until(lambda: not store._probing)


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("error", [StoreError("gone"), StoreBusy("busy"), StoreFull("full")])
def test_every_call_is_answered(store: FallbackStore, primary: Moody, error: StoreError) -> None:
    primary.trouble = error
    assert store.now() == 5
    assert store.update("key", increment, 60) == 1
    assert store.update("key", increment, 60) == 2
    assert store.read("key") == (2,)
    assert list(store.scan("")) == [("key", (2,))]
    assert store.status() == (True, str(error), 3)
    store.close()


@pytest.mark.parametrize("error", [StoreBusy("busy"), StoreFull("full")])
def test_an_error_of_one_key_does_not_affect_others(
    store: FallbackStore, primary: Moody, seconds: Seconds, error: StoreError
) -> None:
    primary.trouble = error
    store.update("key", increment, 60)
    primary.trouble = None
    assert store.update("other", increment, 60) == 1
    assert primary.read("other") == (1,)
    assert store.degraded
    seconds.now += 2
    assert not store.degraded


def test_other_exceptions_are_raised_to_the_caller(store: FallbackStore) -> None:
    with pytest.raises(ValueError):
        store.update("", increment, 60)
    with pytest.raises(ZeroDivisionError):
        store.update("key", lambda old, now: 1 / 0, 60)
    assert not store.degraded


def test_a_failed_primary_is_probed_after_a_second(
    store: FallbackStore, primary: Moody, seconds: Seconds
) -> None:
    primary.trouble = StoreError("gone")
    for _ in range(100):
        store.update("key", increment, 60)
        store.read("key")
        store.now()
    assert primary.asked == 1
    for probes in range(1, 4):
        seconds.now += 1
        for _ in range(100):
            store.update("key", increment, 60)
            settled(store)
        assert primary.asked == 1 + probes
    assert store.degraded


def test_no_call_waits_for_a_probe_and_there_is_one_at_a_time(
    store: FallbackStore, primary: Moody, seconds: Seconds
) -> None:
    primary.trouble = StoreError("gone")
    store.update("key", increment, 60)
    primary.gate.clear()
    primary.asked = 0

    def work() -> None:
        for _ in range(50):
            seconds.now += 0.1
            store.update("key", increment, 60)

    threads = [threading.Thread(target=work) for _ in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - begun < 2
    assert store.read("key") == (401,)
    assert until(lambda: primary.asked)
    assert primary.asked == 1
    primary.gate.set()
    settled(store)


def test_a_thread_that_cannot_start_is_not_an_error(
    store: FallbackStore, primary: Moody, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    primary.trouble = StoreError("gone")
    store.update("key", increment, 60)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        seconds.now += 1
        assert store.update("key", increment, 60) == 2
    primary.trouble = None
    seconds.now += 1
    store.update("key", increment, 60)
    settled(store)
    assert not store._skip()


# ---------------------------------------------------------------- the return


def test_the_primary_returns_by_itself_and_local_state_is_ignored_then(
    store: FallbackStore, primary: Moody, seconds: Seconds, local: MemoryStore
) -> None:
    store.update("key", put((10,)), 60)
    primary.trouble = StoreError("gone")
    assert [store.update("key", increment, 60) for _ in range(5)] == [1, 2, 3, 4, 5]
    primary.trouble = None
    primary.gate.clear()
    seconds.now += 1
    assert store.update("key", increment, 60) == 6  # starts the probe, does not wait for it
    primary.gate.set()
    settled(store)
    assert store.update("key", increment, 60) == 11
    assert local.read("key") == (6,)
    assert store.status() == (False, "gone", 6)


def test_reading_the_status_starts_the_probe(store: FallbackStore, primary: Moody, seconds: Seconds) -> None:
    """A status page or a metric of an idle process does not show trouble that is long over."""
    primary.trouble = StoreError("gone")
    store.update("key", increment, 60)
    primary.trouble = None
    primary.gate.clear()
    seconds.now += 10
    assert store.degraded
    primary.gate.set()
    settled(store)
    assert not store.degraded


def test_it_warns_once_a_minute_and_reports_the_return_once(
    store: FallbackStore, primary: Moody, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for minute in range(3):
        primary.trouble = StoreError(f"gone {minute}")
        for _ in range(59):
            store.update("key", increment, 60)
            settled(store)
            seconds.now += 1
    assert [record.message.rpartition(" ")[2] for record in caplog.records] == ["0", "1", "2"]
    primary.trouble = None
    store.update("key", increment, 60)
    settled(store)
    for _ in range(10):
        seconds.now += 1
        store.update("key", increment, 60)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    assert "whole again" in caplog.records[-1].message


def test_errors_of_single_keys_are_logged_as_rarely(
    store: FallbackStore, primary: Moody, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        primary.trouble = StoreBusy("held")
        store.update("key", increment, 60)
        primary.trouble = None
        for _ in range(10):
            store.update("key", increment, 60)
    assert len(caplog.records) == 1
    seconds.now += 2
    store.update("key", increment, 60)
    store.update("key", increment, 60)
    assert len(caplog.records) == 2


# ---------------------------------------------------------------- the share


def test_a_machine_allows_its_share_while_redis_is_down(primary: Moody, local: MemoryStore) -> None:
    store = FallbackStore(primary, local, share=3)
    assert sum(store.update("whole", Take(9), 60)[0] for _ in range(20)) == 9
    primary.trouble = StoreError("gone")
    assert sum(store.update("key", Take(9), 60)[0] for _ in range(20)) == 3
    assert sum(store.update("small", Take(2), 60)[0] for _ in range(20)) == 1
    assert store.update("no limit", increment, 60) == 1


def test_alone_on_one_machine_nothing_is_divided(store: FallbackStore, primary: Moody) -> None:
    primary.trouble = StoreBusy("held")
    assert sum(store.update("key", Take(9), 60)[0] for _ in range(20)) == 9


# ---------------------------------------------------------------- open_store


@pytest.mark.parametrize(
    "url", ["", "memory", "memory:/", "memory://x", "shared://secret@x", "http://x", "REDIS//", "sqlite:///x"]
)
def test_an_unknown_url_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"memory://, shared://, redis://") as raised:
        open_store(url)
    assert "secret" not in str(raised.value)


def test_redis_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ValueError, match=r"needs the redis package.*\.\[redis\]"):
        open_store("redis://127.0.0.1/0")


def test_other_stores_need_no_redis() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from flask_gateway.state import open_store\n"
        "for url in ('memory://', 'shared://'):\n"
        "    open_store(url).update('key', lambda old, now: ((1,), None), 1)\n"
        "assert 'flask_gateway.state.redis' not in sys.modules\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


@pytest.mark.parametrize("url", ["memory://", "shared://", "redis://127.0.0.1:1/0"])
def test_every_url_gives_a_store_that_answers(url: str) -> None:
    store = open_store(url, machines=3)
    assert store.update("key", increment, 60) == 1
    assert store.read("key") == (1,)
    assert store.now() > 0
    store.close()


def test_no_shared_memory_at_all_is_degraded_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    for url in ("shared://", "redis://127.0.0.1:1/0"):
        store = open_store(url)
        assert store.update("key", increment, 60) == 1
        assert store.degraded


def test_no_robust_mutexes_is_degraded_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without Linux."""
    monkeypatch.setattr("ctypes.PyDLL", lambda name: object())
    store = open_store("shared://")
    assert store.update("key", increment, 60) == 1
    assert "robust" in store.status().reason


def test_every_call_of_an_unavailable_store_raises_the_reason() -> None:
    absent = UnavailableStore("for a reason")
    calls = [
        absent.now,
        lambda: absent.read("key"),
        lambda: absent.update("key", increment, 60),
        lambda: absent.scan(""),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="for a reason"):
            call()
    absent.close()
