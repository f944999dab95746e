"""Spend: sums that are those of the calls, months, unknown prices, an unreadable ledger."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from kit.calls import AUTH, chat
from kit.pages import PageClient, words
from kit.waiting import until

from flask_gateway.config.schema import LedgerSettings
from flask_gateway.ledger import database
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.page.spend import BY, daily, groups_of, month_of, next_month, total


@pytest.fixture
def page(tmp_path: Path, store: MemoryStore) -> PageClient:
    prices = {"mock/mock": PriceOverride(rates={"input": 10**6, "output": 2 * 10**6})}
    data = str(tmp_path / "data")
    return PageClient(tmp_path / "data", store, prices=prices, ledger=LedgerSettings(data=data))


def test_the_sums_are_those_of_the_calls(page: PageClient) -> None:
    cost = Decimal(0)
    for _ in range(3):
        answer = page.http.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
        cost += Decimal(answer.headers["x-gateway-cost"])
    assert until(lambda: "all 3" in words(page.http.get("/ui/spend").text))
    for by in BY:
        shown = words(page.get(f"spend?by={by}"))
        assert f"all 3 {cost}" in shown.replace("  ", " ") or str(cost) in shown
    rows = list(csv.DictReader(io.StringIO(page.get("spend.csv?by=key"))))
    assert sum(int(row["calls"]) for row in rows) == 3
    assert sum(Decimal(row["cost"]) for row in rows) == cost
    assert "No call in this month." in words(page.get("spend?month=2001-01"))
    assert "No call in this month." not in words(page.get("spend?month=nonsense&by=nonsense"))


def test_an_unreadable_ledger_is_a_page_that_says_so(page: PageClient, tmp_path: Path) -> None:
    (tmp_path / "data" / database.NAME).unlink(missing_ok=True)
    (tmp_path / "data" / database.NAME).mkdir(exist_ok=True)
    answer = page.http.get("/ui/spend")
    assert answer.status_code == 503
    assert "The ledger cannot be read now" in words(answer.text)
    assert "ledger ■ look here" in words(page.get("health"))
    assert page.http.get("/ui/keys").status_code == 200


def a_row(model: str, source: str, cost: str, **changes: int) -> dict[str, object]:
    counts = {"calls": 1, "unpriced": 0, "input": 1, "cached": 0, "output": 1, **changes}
    return {"model": model, "source": source, "cost": cost, **counts}


ROWS = [
    a_row("a", "reported", "1.5", calls=2, input=5, cached=1),
    a_row("a", "estimated", "0.5"),
    a_row("b", "reported", "3", unpriced=1),
]


def test_groups_add_up_and_the_dearest_comes_first() -> None:
    dear, cheap = groups_of(ROWS, "model")
    assert (dear.name, dear.unpriced, dear.estimated_share) == ("b", 1, "")
    assert (cheap.name, cheap.calls, cheap.input, str(cheap.cost)) == ("a", 3, 6, "2.0")
    assert cheap.estimated_share == "25 %"
    whole = total([dear, cheap])
    assert (whole.calls, whole.unpriced, str(whole.cost)) == (4, 1, "5.0")
    assert total([]).calls == 0


def test_the_chart_has_the_dearest_and_the_others() -> None:
    rows = [{**row, "day": f"2026-11-0{place + 1}"} for place, row in enumerate(ROWS)]
    chart = daily(rows, "model", ["b"], ["2026-11-01", "2026-11-02", "2026-11-03"])
    assert [area.name for area in chart.areas] == ["b", "others"]
    assert chart.top == 3


@pytest.mark.parametrize(
    ("text", "month"),
    [("2026-11", (2026, 11)), *((text, (2027, 1)) for text in ("2026-13", None, "2026-11-01", "<b>"))],
)
def test_a_month_that_is_none_is_this_one(text: str | None, month: tuple[int, int]) -> None:
    assert month_of(text, date(2027, 1, 31)) == month


def test_months_go_on_over_the_year() -> None:
    assert next_month(2026, 12) == (2027, 1)
    assert next_month(2026, 1, -1) == (2025, 12)
    assert next_month(2026, 6) == (2026, 7)
