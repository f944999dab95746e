"""The overview: figures that are exactly those of known calls, broken upstreams, charts as numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.pages import PageClient, a_record, elements, words

from flask_gateway.guards.breaker import PLAIN, BreakerStatus
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import Verdict
from flask_gateway.telemetry.pulse import FINE, Counts, added
from flask_gateway.web.page.chart import HEIGHT, WIDTH, lines, stacked
from flask_gateway.web.page.overview import cards, state_of, table, upstream_lines


def test_before_the_first_call_the_page_shows_how_to_make_one(page: PageClient) -> None:
    shown = words(page.get("overview"))
    assert "No call yet in this time. Try one:" in shown
    assert "Nothing to report since the start" in shown or "admin: logged in" in shown


def test_the_cards_and_the_table_have_exactly_the_calls(page: PageClient) -> None:
    for number in range(12):
        page.rings.observe(a_record(number))
    for number in range(5):
        page.rings.observe(a_record(number, status=502, outcome="failure", first_byte=None))
    refused = {"status": 429, "outcome": "ignored", "attempts": (), "upstream": None, "first_byte": None}
    for number in range(3):
        page.rings.observe(a_record(number, **refused))
    shown = words(page.get("overview"))
    assert "20 in all" in shown
    assert "Failed 25.0 % 5 requests" in shown
    assert "Refused 3 " in shown
    for path in ("overview", "overview?range=24h"):
        html = page.get(path)
        assert "12 ok, 5 failed, 3 refused, 0 left." in html
        cells = (
            html.split("<details>")[1].split("<tbody>")[1].split("</tbody>")[0].split('<td class="n">')[1:]
        )
        figures = [int(cell.split("<")[0]) for cell in cells]
        assert [sum(figures[column::6]) for column in range(4)] == [12, 5, 3, 0]


def test_an_unknown_range_is_the_usual_one(page: PageClient) -> None:
    assert 'href="overview?range=30m" aria-current="true"' in page.get("overview?range=%3Cb%3E")


def test_without_memory_the_page_shows_the_present(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    here = page.app.extensions["gateway"]
    page.app.extensions["gateway"] = msgspec.structs.replace(here, rings=None)
    assert "no memory for the figures of the past" in words(page.get("overview"))
    assert "The log has them." in words(page.get("requests"))


def a_status(**changes: Any) -> BreakerStatus:
    return BreakerStatus(
        **{"upstream": "a", "state": "CLOSED", "failures": 0, "retry_after": None, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "closed", ""),
        ({"state": "OPEN", "failures": 5, "retry_after": 16.0}, "open", "5 failures in a row, probe in 16 s"),
        ({"state": "OPEN", "failures": 5}, "open", "the next call probes"),
        ({"state": "HALF_OPEN", "model": "m"}, "half open", "model m: a probe"),
        ({"credential_refused": True}, "credential refused", "check its API key"),
        ({"cooling": True, "retry_after": 4.0}, "pausing", "(429) for 4 s"),
    ],
)
def test_states_in_words(changes: dict[str, Any], state: str, said: str) -> None:
    found, sentence = state_of([a_status(), a_status(**changes)])
    assert found == state
    assert said in sentence


def test_the_broken_upstream_comes_first_and_says_why(page: PageClient) -> None:
    found = upstream_lines([a_status(), a_status(upstream="b", state="OPEN", failures=3)], {}, {})
    assert [line.name for line in found] == ["b", "a"]
    gateway = page.app.extensions["gateway"]
    breaker = gateway.breakers[0]

    for caller in "abcdefghij":
        breaker.settle(PLAIN, Outcome(Verdict.FAILURE), caller)
    html = page.get("overview")
    assert f"Upstream {breaker.upstream}: open" in words(html)
    assert "the circuit breaker was closed and is open" in words(html)


def test_rates_are_of_the_last_whole_minute() -> None:
    counts = [Counts(n * 10, ok=6) for n in range(20)]
    shown = {card.title: card for card in cards(counts, added(counts), FINE, 3, "")}
    assert shown["Requests a minute"].value == "36"
    assert shown["Requests a minute"].more == "120 in all"
    assert shown["First byte p50 / p95"].value == "\u2013"


def test_the_table_is_short_and_adds_up() -> None:
    rows = table([Counts(n * 10, ok=n) for n in range(180)])
    assert len(rows) == 12
    assert sum(row.ok for row in rows) == sum(range(180))
    assert rows[-1].at == 0


def test_bars_are_stacked_without_gaps() -> None:
    chart = stacked({"ok": [1, 0, 2], "failed": [1, 0, 2]})
    assert chart.top == 4
    good, bad = (area.path for area in chart.areas)
    assert good == (
        f"M0.0 {HEIGHT:.1f}v-22.5h{WIDTH / 3 - 0.3:.1f}v22.5z"
        f"M{WIDTH / 3 * 2:.1f} {HEIGHT:.1f}v-45.0h{WIDTH / 3 - 0.3:.1f}v45.0z"
    )
    assert bad.startswith("M0.0 67.5v-22.5")
    assert stacked({"ok": [0, 0]}).areas[0].path == ""
    assert stacked({"ok": []}).areas[0].path == ""


def test_lines_have_gaps_where_nothing_is_known() -> None:
    (line,) = lines({"p50": [None, 1.0, 2.0, None, 1.0]}).areas
    assert line.path.count("M") == 2
    assert line.path.count("L") == 1
    assert lines({"p50": [None]}).areas[0].path == ""


def test_charts_have_titles_and_sentences(page: PageClient) -> None:
    page.rings.observe(a_record())
    html = page.get("overview")
    charts = [found for tag, found in elements(html) if tag == "svg" and found.get("role") == "img"]
    assert len(charts) == 3
    ids = {found.get("id") for _, found in elements(html)}
    for chart in charts:
        assert set(str(chart["aria-labelledby"]).split()) <= ids
