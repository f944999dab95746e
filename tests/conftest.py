"""Provides the common fixtures: a manual clock, a store that reads it, settings, an app and a client."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit import sharing
from kit.calls import make_settings
from kit.needs import left_out
from kit.planted import command_output, printed_by
from kit.planted import pytest_runtest_makereport as pytest_runtest_makereport  # registers the hook
from kit.postgres import PostgresServer
from kit.sharing import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler  # registers the hook
from kit.stores import HandClock

from flask_gateway import create_app
from flask_gateway.config.schema import Settings
from flask_gateway.ledger.books import Books
from flask_gateway.reactor import Periodic
from flask_gateway.state.memory import MemoryStore

# No deadline, and no limit on the time that examples take to make: a busy machine must not fail a test.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


#: Fixtures that start servers.
_SERVERS = frozenset({"start_gateway", "start_shared_gateway", "scripted"})


@pytest.hookimpl(wrapper=True, tryfirst=True)  # it marks before ``-m`` selects, and sorts what is selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark tests with servers as live. They wait more than they compute, so files of other tests run between
    theirs, and at the end, when a file that waits would leave a core idle."""
    for item in items:
        if not _SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("live")
    yield
    live = {item.path for item in items if item.get_closest_marker("live")}
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path in live]
    order = _spread(waiting, [path for path in files if path not in live])
    order.sort(key=lambda path: not sharing.shares(path))  # they are the longest piece of work
    sharing.check(items)
    items[:] = [item for path in order for item in files[path]]


def _spread(some: list[Path], others: list[Path]) -> list[Path]:
    """``some`` with three quarters of ``others`` evenly between them; the last quarter at the end."""
    between = len(others) * 3 // 4
    places = [(at / len(some), 0, path) for at, path in enumerate(some)]
    places += [(at / max(between, 1), 1, path) for at, path in enumerate(others)]
    return [path for *_, path in sorted(places, key=lambda place: place[:2])]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the objects of the collected tests: some tests run it often."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Name the skipped tests in the last line of the run, with the programs that they need."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    skipped = reporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if line := left_out(reasons):
        reporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _nothing_printed_has_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session if a file contains a secret. Set up first, to run after the last server has ended."""
    with command_output.recording():
        yield
    assert printed_by(tmp_path_factory.getbasetemp().rglob("*")) == []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests that need one. Each makes a database of its own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres_server.database(f"d{time.monotonic_ns()}")


@pytest.fixture(autouse=True)
def _background_threads_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the threads of the gateways that a test made, and close their ledgers. They end with the process
    otherwise: hundreds of them would go on working during later tests, and keep their files open."""
    started: list[Periodic] = []
    start = Periodic.start

    def recorded(self: Periodic) -> None:
        started.append(self)
        start(self)

    monkeypatch.setattr(Periodic, "start", recorded)
    yield
    for thread in started:
        thread.stop(0.5)
    owners = [getattr(thread._work, "__self__", None) for thread in started]
    for books in {owner for owner in owners if isinstance(owner, Books)}:
        books.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def settings() -> Settings:
    return make_settings()


@pytest.fixture
def app(settings: Settings, store: MemoryStore) -> Flask:
    return create_app(settings, store)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def make_client(store: MemoryStore) -> Callable[..., FlaskClient]:
    """Builds a client of a gateway with some settings changed."""

    def make(**changes: Any) -> FlaskClient:
        return create_app(make_settings(**changes), store).test_client()

    return make
