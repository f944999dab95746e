"""Every view is there for programs, too: the same as JSON or CSV, with the same filters."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from kit.pages import PageClient, a_record, elements
from kit.waiting import until

#: Paths that show no data of the gateway, or none that is not elsewhere.
NO_DATA = {"/ui", "/ui/", "/ui/login", "/ui/live", "/ui/try", "/ui/static/<name>"}


def address(page: PageClient, path: str) -> str:
    """An address of the page that shows something."""
    (key,) = page.ask("GET", "/keys").json["data"]  # type: ignore[index]
    queries = {"upstream": "?name=mock", "request": "?id=request-1", "key": f"?id={key['id']}"}
    name = path.removeprefix("/ui/")
    return name + queries.get(name, "")


def views(page: PageClient) -> list[str]:
    rules = (rule for rule in page.app.url_map.iter_rules() if rule.endpoint.startswith("gateway_page."))
    return sorted(rule.rule for rule in rules if "GET" in (rule.methods or ()) and rule.rule not in NO_DATA)


def test_every_view_has_json_or_csv_and_says_where(page: PageClient) -> None:
    assert until(lambda: page.http.get("/ui/spend").status_code == 200)  # the bookkeeper makes the ledger
    page.make(name="web")
    page.rings.observe(a_record(1))
    pages = [path for path in views(page) if "." not in path]
    assert len(pages) == 11
    for path in pages:
        shown = address(page, path)
        links = [a["href"] or "" for tag, a in elements(page.get(shown)) if tag == "a" and a.get("href")]
        formats = [link for link in links if re.match(rf"{path.removeprefix('/ui/')}\.(json|csv)", link)]
        assert formats, path
        for link in formats:
            answer = page.http.get(f"/ui/{link}")
            assert answer.status_code == 200, link
            if answer.mimetype == "application/json":
                assert json.loads(answer.data)["data"] or path == "/ui/requests", link
            else:
                assert answer.mimetype == "text/csv"
                rows = list(csv.reader(io.StringIO(answer.text)))
                assert path == "/ui/spend" or len(rows[0]) > 3, link  # nothing was charged in this month


@pytest.mark.parametrize(
    "path", ["upstream.json?name=nothing", "key.json?id=nothing", "models.json?key=nothing"]
)
def test_an_unknown_thing_is_an_error_in_json(page: PageClient, path: str) -> None:
    answer = page.http.get(f"/ui/{path}")
    assert answer.status_code in (400, 404)
    assert answer.json["error"]["message"]
    assert "nosniff" in answer.headers["X-Content-Type-Options"]


def test_the_overview_adds_up(page: PageClient) -> None:
    for number in range(5):
        page.rings.observe(a_record(number))
    page.rings.note("something <b>")
    told = json.loads(page.get("overview.json"))
    assert sum(period["ok"] for period in told["periods"]) == 5
    assert told["data"]["notes"][0]["text"] == "something <b>"
    assert {one["name"] for one in told["data"]["upstreams"]} >= {"mock"}


def test_the_health_has_its_notes_by_text(page: PageClient) -> None:
    page.rings.note("one of two")
    page.rings.note("another")
    told = json.loads(page.get("health.json?q=two"))
    assert [note["text"] for note in told["notes"]] == ["one of two"]
    assert {part["subject"] for part in told["data"]} >= {"store", "ledger", "disk"}


def test_a_request_is_there_with_its_attempts(page: PageClient) -> None:
    page.rings.observe(a_record(7))
    (one,) = json.loads(page.get("request.json?id=request-7"))["data"]
    assert one["attempts"][0]["upstream"] == "llama"
    assert json.loads(page.get("request.json?id=unknown"))["data"] == []
