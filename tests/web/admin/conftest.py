"""A gateway with issued keys in the test's process."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.calls import AUTH, chat
from kit.waiting import until

from flask_gateway.app.build import Gateway
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore

#: A cent for each call.
PRICE = PriceOverride(rates={"input": 0, "output": 0, "requests": 10_000_000_000})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def admins(data: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(data, store)


@pytest.fixture
def both(data: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(data, store, compat=("litellm", "openai"), prices={"mock/mock": PRICE})


@pytest.fixture
def kept(data: Path, store: MemoryStore) -> AdminClient:
    """A gateway that has answered three calls, at 1 and 2 US dollars per million tokens."""
    prices = {"mock/mock": PriceOverride(rates={"input": 10**6, "output": 2 * 10**6})}
    admins = AdminClient(data, store, prices=prices, ledger=LedgerSettings(data=str(data)))
    costs = set()
    for _ in range(3):
        answer = admins.http.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
        used = answer.json["usage"]  # type: ignore[index]
        nano = 1000 * used["prompt_tokens"] + 2000 * used["completion_tokens"]
        costs.add((answer.headers["x-gateway-cost"], f"0.{nano:09d}"))
    ((told, counted),) = costs
    assert told == counted
    gateway: Gateway = admins.app.extensions["gateway"]
    assert gateway.accounting is not None
    until(lambda: len(admins.ask("GET", "/charges").json.get("data", ())) == 3)  # type: ignore[union-attr]
    return admins
