"""What most tests need: a clock turned by hand, a store that reads it, settings, a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import (
    _overheard,
    make_settings,
)
from kit.needs import left_out
from kit.planted import printed_by
from kit.stores import HandClock

from flask_gateway import create_app
from flask_gateway.config.schema import (
    Settings,
)
from flask_gateway.state.memory import MemoryStore

# A machine that is busy with something else makes no test wrong.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run says which tests were left out for want of a program."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    skipped = reporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if line := left_out(reasons):
        reporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _nothing_printed_has_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set up before all others, so that it ends when the last server has."""
    with _overheard.listening():
        yield
    assert printed_by(tmp_path_factory.getbasetemp().rglob("*")) == []


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
    """A client of a gateway with some settings changed."""

    def make(**changes: Any) -> FlaskClient:
        return create_app(make_settings(**changes), store).test_client()

    return make
