"""Issued keys of several machines: PostgreSQL away first, then changes that reach every machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from kit.issuing import ACTOR, Issuing
from kit.postgres import PostgresServer
from kit.stores import HandClock
from kit.waiting import until

from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.auth.key_body import TeamFields
from flask_gateway.auth.key_changes import KeyChanges
from flask_gateway.auth.key_copy import CopiedKeyStore
from flask_gateway.auth.key_pages import audit_page, key_page
from flask_gateway.auth.key_ring import What
from flask_gateway.model.errors import CallerError, KeysUnavailable
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import Store


class Machine:
    """A machine with a directory of its own, and two workers, the first of which keeps the copy."""

    def __init__(self, data: Path, url: str, store: Store) -> None:
        self.issuing = Issuing(data, store)
        self.copy = CopiedKeyStore(data, url, store)
        self.issuing.changes._keys = self.copy
        self.issuing.keys = self.copy
        self.ended: list[str] = []
        self.workers = [
            IssuedKeys(CopiedKeyStore(data, url, store), store, self.ended.extend, always=True) for _ in "ab"
        ]

    def start(self) -> None:
        for worker in self.workers:
            worker.start()

    def stop(self) -> None:
        for worker in self.workers:
            worker._periodic.stop()
            worker._keys.close()
        self.copy.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[str, Store], Machine]]:
    made: list[Machine] = []

    def make(url: str, store: Store) -> Machine:
        made.append(Machine(tmp_path / str(len(made)), url, store))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def digest(secret: str | None) -> bytes:
    return sha256((secret or "").encode()).digest()


def test_without_postgresql_the_copy_serves_and_changes_are_refused(
    tmp_path: Path,
    store: MemoryStore,
    machine: Callable[[str, Store], Machine],
    postgres_server: PostgresServer,
    postgres_url: str,
) -> None:
    """Case 46 of the design, as far as keys go: PostgreSQL is away while the workers start."""
    before = Machine(tmp_path / "0", postgres_url, store)
    secret = digest(before.issuing.make(name="web").secret)
    before.stop()
    postgres_server.kill()
    try:
        after = machine(postgres_url, store)
        for worker in after.workers:
            known = worker.find(secret)
            assert known is not None
        with pytest.raises(KeysUnavailable):
            after.issuing.make(name="other")
        with after.issuing.changes.reading() as (db, now):
            assert [key["name"] for key in key_page(db, {}, now)["data"]] == ["web"]
    finally:
        postgres_server.start()
    assert after.issuing.make().created


def test_a_machine_without_a_copy_and_without_postgresql_knows_no_issued_key(
    store: MemoryStore, machine: Callable[[str, Store], Machine]
) -> None:
    alone = machine("postgresql://postgres@127.0.0.1:1/none", store)
    with pytest.raises(KeysUnavailable):
        alone.workers[0].find(bytes(32))


def test_changes_reach_every_worker_of_every_machine(
    postgres_url: str, store: MemoryStore, machine: Callable[[str, Store], Machine]
) -> None:
    first, second = machine(postgres_url, store), machine(postgres_url, store)
    workers = [*first.workers, *second.workers]
    made = first.issuing.make(name="web")
    secret = digest(made.secret)
    for worker in workers:  # a new key is not refused anywhere
        assert worker.find(secret) is not None
    second.issuing.state(made, "disable")
    assert all(
        until(lambda w=worker: (known := w.find(secret)) is None or known.disabled) for worker in workers
    )
    second.issuing.state(made, "enable")
    for worker in workers:
        assert until(lambda w=worker: (known := w.find(secret)) is not None and not known.disabled)
    second.issuing.state(made, "revoke", end_streams=True)
    assert [worker.find(secret) for worker in workers] == [None] * 4  # at the next call
    assert until(lambda: set(first.ended) == set(second.ended) == {made.key["id"]})
    time.sleep(0.3)
    assert [worker.find(secret) for worker in workers] == [None] * 4
    with pytest.raises(CallerError):
        first.issuing.state(made, "enable")
    with first.issuing.changes.reading() as (db, _):
        actions = [entry["action"] for entry in audit_page(db, {})["data"]]
    assert actions == ["revoke", "enable", "disable", "create"]


def test_a_revoked_key_is_refused_at_once_while_the_copy_is_late(
    postgres_url: str, store: MemoryStore, machine: Callable[[str, Store], Machine]
) -> None:
    """The copy has the row already, and is busy: it does not yet have the generation that the store tells."""
    made = (first := machine(postgres_url, store)).issuing.make()
    secret, worker = digest(made.secret), first.workers[1]
    assert until(lambda: worker_knows(worker, secret))
    first.issuing.state(made, "revoke", end_streams=True)
    assert until(lambda: not worker._table)
    first.stop()
    update = worker._store.update
    update("keys:gen", lambda old, now: ((old[0] + 1,), None), 60.0)
    assert worker.find(secret) is None
    with pytest.raises(KeysUnavailable):
        worker.find(bytes(32))  # it may be new


def test_without_the_shared_store_a_revoked_key_is_refused_within_two_seconds(
    postgres_url: str, machine: Callable[[str, Store], Machine]
) -> None:
    """Each machine has a store of its own, as while Redis is away."""
    first, second = machine(postgres_url, MemoryStore()), machine(postgres_url, MemoryStore())
    made = first.issuing.make()
    secret = digest(made.secret)
    assert all(until(lambda w=worker: worker_knows(w, secret)) for worker in second.workers)
    first.issuing.state(made, "revoke", end_streams=True)
    began = time.monotonic()
    assert all(until(lambda w=worker: not worker_knows(w, secret)) for worker in second.workers)
    assert time.monotonic() - began < 10  # 2 s on a machine with time to spare


def worker_knows(worker: IssuedKeys, secret: bytes) -> bool:
    return worker.find(secret) is not None


def test_names_are_unique_over_machines_and_rotations_teams_and_repeats_work(
    postgres_url: str, store: MemoryStore, machine: Callable[[str, Store], Machine]
) -> None:
    first, second = machine(postgres_url, store), machine(postgres_url, store)
    made = first.issuing.make(name="web")
    with pytest.raises(CallerError):
        second.issuing.make(name="web")
    first.issuing.teams.put(ACTOR, "search", TeamFields(limits={"requests": 5}))
    second.issuing.teams.put(ACTOR, "search", TeamFields(limits={"requests": 7}))
    second.issuing.make(name="b", team="search")
    with pytest.raises(CallerError):
        first.issuing.teams.delete(ACTOR, "search", revoke_keys=False)
    second.issuing.teams.delete(ACTOR, "search", revoke_keys=True)
    assert first.issuing.make(name="b").created  # a revoked key has freed its name
    digests = {digest(made.secret)}
    with first.copy.reading() as db:
        assert {row[0] for row in db.execute("SELECT digest FROM secret WHERE key = 1")} == digests


def test_one_process_keeps_the_copy_and_a_lost_file_is_made_again(
    postgres_url: str, tmp_path: Path, store: MemoryStore
) -> None:
    first, second = (CopiedKeyStore(tmp_path, postgres_url, store) for _ in "ab")
    changes = KeyChanges(first, store, HandClock())
    with changes.change(ACTOR) as step:
        step.audit("look", "nothing", None, None)
        step.touched(0, What.LOOK)
    first.refresh()
    assert (first._is_mine(), second._is_mine()) == (True, False)
    first.path.unlink()
    with second.reading() as db:
        assert db.execute("SELECT count(*) FROM audit").fetchone() == (1,)
    first.close()
    assert second._is_mine()
    second.close()
