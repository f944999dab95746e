"""Tries limits and budgets of all kinds of subjects on the running server, credits, alerts, and odd days."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kit.admins import ADMIN_KEY
from kit.gateways import StartGateway
from kit.servers import Gateway
from kit.shifted_clock import ShiftedClock
from kit.waiting import until
from kit.wire import Answer

pytestmark = pytest.mark.live

SETTINGS = """
rate_limit_per_minute = 0

[ledger]
data = "data"
timezone = "Europe/Berlin"
webhook_env = "HOOK"

[upstreams.mock]
url = "mock://local"

[upstreams.late]
url = "mock://local?latency_ms=2000"

[models.cent]
upstream = "mock"
model = "cent"
price = {{ input = "0", output = "0", per_request = "0.01" }}

[models.slow]
upstream = "late"
model = "late"
price = "free"

[models.unknown]
upstream = "mock"
model = "unknown"

[teams.four]
requests = 4

[teams.one]
concurrent = 1

[keys.three]
sha256 = "{three}"
requests = 3

[keys.first]
sha256 = "{first}"
team = "four"

[keys.second]
sha256 = "{second}"
team = "four"

[keys.narrow]
sha256 = "{narrow}"
model_limits = {{ cent = {{ requests = 2 }} }}

[keys.shop]
sha256 = "{shop}"
users = {{ requests = 1, budgets = [{{ amount = "0.01", window = "day" }}] }}
user_limits = {{ vip = {{ requests = 3 }} }}
require_user = true

[keys.alone]
sha256 = "{alone}"
team = "one"

[keys.strict]
sha256 = "{strict}"
budgets = [{{ amount = "0.02", window = "total", strict = true }}]

[keys.daily]
sha256 = "{daily}"
budgets = [{{ amount = "0.05", window = "day" }}]
"""
NAMES = ("three", "first", "second", "narrow", "shop", "alone", "strict", "daily")


def secret(name: str) -> str:
    return f"{name}-key-for-money-of-all-kinds"


class Hook(BaseHTTPRequestHandler):
    """Notes the alerts that are posted."""

    alerts: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def alerts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of a webhook, and what it gets."""
    Hook.alerts = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/planted-hook", Hook.alerts
        server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("money")
    digests = {name: sha256(secret(name).encode()).hexdigest() for name in NAMES}
    (made / "gateway.toml").write_text(SETTINGS.format(**digests))
    return made


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> ShiftedClock:
    return ShiftedClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def gateway(
    start_gateway: StartGateway, folder: Path, clock: ShiftedClock, alerts: tuple[str, Any]
) -> Gateway:
    started = start_gateway(
        key=secret("strict"),
        GATEWAY_CONFIG=str(folder / "gateway.toml"),
        GATEWAY_ADMIN_KEY=ADMIN_KEY,
        GATEWAY_WORKERS="1",
        **clock.environment,
        HOOK=alerts[0],
    )
    assert until(lambda: started.ask("GET", "/readyz").status == 200)
    return started


def chat(gateway: Gateway, key: str, model: str = "cent", **headers: str) -> Answer:
    return gateway.chat(model, headers={"x_api_key": secret(key), **headers})


def statuses(gateway: Gateway, key: str, count: int, model: str = "cent", **headers: str) -> Counter[int]:
    return Counter(chat(gateway, key, model, **headers).status for _ in range(count))


def test_requests_of_a_key_a_team_and_a_model_of_a_key(gateway: Gateway) -> None:
    assert statuses(gateway, "three", 5) == {200: 3, 429: 2}
    assert chat(gateway, "three").error["type"] == "requests"
    assert statuses(gateway, "first", 3) == {200: 3}
    assert statuses(gateway, "second", 3) == {200: 1, 429: 2}
    assert "The team 'four'" in chat(gateway, "second").error["message"]
    assert statuses(gateway, "narrow", 3) == {200: 2, 429: 1}
    assert statuses(gateway, "narrow", 3, "unknown") == {200: 3}


def test_each_end_user_has_requests_and_a_budget(gateway: Gateway) -> None:
    missing = chat(gateway, "shop")
    assert (missing.status, missing.error["code"]) == (400, "user_required")
    assert statuses(gateway, "shop", 2, x_gateway_user="alice") == {200: 1, 429: 1}
    assert statuses(gateway, "shop", 2, x_gateway_user="bob") == {200: 1, 429: 1}
    assert statuses(gateway, "shop", 4, x_gateway_user="vip") == {200: 3, 429: 1}
    unpriced = gateway.chat("unknown", user="carol", headers={"x_api_key": secret("shop")})
    assert (unpriced.status, unpriced.error["code"]) == (403, "model_not_priced")


def test_calls_of_a_team_at_once(gateway: Gateway) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: chat(gateway, "alone", "slow"), range(4)))
    found = Counter(answer.status for answer in answers)  # on a busy machine one may have come late
    assert (found[200] + found[429], found[429] > 0) == (4, True)
    assert {answer.error["type"] for answer in answers if answer.status == 429} == {"concurrency"}
    assert until(lambda: chat(gateway, "alone").status == 200)


def test_a_strict_budget_a_credit_and_alerts_that_come_once(
    gateway: Gateway, alerts: tuple[str, list[dict[str, Any]]]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: chat(gateway, "strict"), range(8)))
    assert Counter(answer.status for answer in answers) == {200: 2, 429: 6}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["x-gateway-budget-remaining"] == "0.000000000"
    credit = {"subject": "key:strict", "amount": "-0.01", "note": "once"}
    answer = gateway.ask("POST", "/admin/v1/adjustments", credit, authorization=f"Bearer {ADMIN_KEY}")
    assert answer.status in (200, 201), answer.body
    assert statuses(gateway, "strict", 2) == {200: 1, 429: 1}

    def told() -> list[float]:
        return sorted(one["share"] for one in alerts[1] if one["subject"] == "key:strict")

    # At 0.02 both shares, and at 0.02 again, after the credit, the same ones of the same window.
    assert until(lambda: len(told()) >= 2)
    assert told() == [0.8, 1.0]
    assert "planted-hook" not in gateway.stderr


@pytest.mark.parametrize(
    ("moment", "begins", "ends"),
    [
        ("2026-03-29T00:30:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
        ("2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),  # 25 hours
    ],
)
def test_a_day_of_another_length_ends_at_midnight(
    gateway: Gateway, clock: ShiftedClock, moment: str, begins: str, ends: str
) -> None:
    """Case 11 of the design, on the running server: the last second of the day and the first of the next."""
    admin = f"Bearer {ADMIN_KEY}"

    def at(when: str, seconds: int = 0) -> Answer:
        target = datetime.fromisoformat(when).timestamp() + seconds
        clock.set(int(target - datetime.now(UTC).timestamp()))
        answer = chat(gateway, "daily")
        assert answer.status == 200
        path = f"/admin/v1/charges?request_id={answer.headers['x-request-id']}"
        # A row that is not there yet when the next day's account opens would count there, too.
        assert until(lambda: json.loads(gateway.ask("GET", path, authorization=admin).body)["data"])
        return answer

    try:
        first = at(begins, 60)
        assert first.headers["x-gateway-budget-reset"] == ends
        assert first.headers["x-gateway-budget-remaining"] == "0.040000000"
        assert at(moment).headers["x-gateway-budget-remaining"] == "0.030000000"
        assert at(ends, -60).headers["x-gateway-budget-remaining"] == "0.020000000"
        following = at(ends, 60)
        assert following.headers["x-gateway-budget-remaining"] == "0.040000000"
        assert following.headers["x-gateway-budget-reset"] > ends
    finally:
        clock.set(0)
