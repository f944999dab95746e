"""The list of requests, one request, and both as files: filters, strangers' texts, sizes."""

from __future__ import annotations

import csv
import io
import json
from urllib.parse import quote

import pytest
from kit.calls import AUTH, chat
from kit.pages import HOSTILE, PageClient, a_record, elements, words

from flask_gateway.model.call import Attempt, Ids
from flask_gateway.web.page.request_list import PAGE, safe_cell


def test_before_the_first_request_the_page_says_so(page: PageClient) -> None:
    assert "No request yet since the start." in words(page.get("requests"))
    assert page.http.get("/ui/requests.json").json == {"object": "list", "data": []}


def test_a_call_is_on_the_page(page: PageClient) -> None:
    answer = page.http.post(
        "/v1/chat/completions", json=chat("mock"), headers={**AUTH, "x-request-id": "mine"}
    )
    assert answer.status_code == 200
    page.http.get("/v1/models")  # 401
    shown = words(page.get("requests"))
    assert "team-a mock mock 200 ok" in shown
    assert "401 refused invalid_api_key" in shown
    (entry,) = page.http.get("/ui/requests.json?id=mine").json["data"]
    assert (entry["key"], entry["model"], entry["attempts"][0]["upstream"]) == ("team-a", "mock", "mock")


@pytest.fixture
def full(page: PageClient) -> PageClient:
    """Sixty good requests, then a failed one of another key after a retry."""
    for number in range(60):
        page.rings.observe(a_record(number))
    attempts = (Attempt("openai", "503", 0.4, "gpt-4o"), Attempt("llama", "timeout", 2.0))
    failed = {"status": 504, "outcome": "failure", "code": "upstream_timeout", "first_byte": None}
    page.rings.observe(a_record("bad", key="ci", model="smart", attempts=attempts, usage=None, **failed))
    return page


FILTERS = [
    ("", PAGE),
    ("key=ci", 1),
    ("status=failed", 1),
    ("status=504", 1),
    ("model=smart", 1),
    ("model=llama-3.1-8b", PAGE),
    ("upstream=openai", 1),
    ("code=upstream_timeout", 1),
    ("id=trace-bad", 1),
    ("failed_at=openai", 1),
    ("failed_at=nobody", 0),
    ("key=nobody", 0),
    ("before=1", 0),
    ("before=nan", 0),
    ("unknown=1", PAGE),
]


def test_filters(full: PageClient) -> None:
    for query, count in FILTERS:
        html = full.get(f"requests?{query}")
        assert html.count('<td class="whole">') == count, query


def test_failures_survive_5000_later_successes(page: PageClient) -> None:
    attempts = (Attempt("openai", "503", 0.4, "gpt-4o"), Attempt("llama", "timeout", 2.0))
    for number in range(3):
        failed = {"status": 504, "outcome": "failure", "code": "upstream_timeout", "attempts": attempts}
        page.rings.observe(a_record(f"bad-{number}", **failed))
    good = a_record("good")
    for _ in range(5000):
        page.rings.observe(good)
    for query in ("status=failed", "status=504", "failed_at=openai", "code=upstream_timeout"):
        html = page.get(f"requests?{query}")
        assert [f"request-bad-{number}" in html for number in range(3)] == [True] * 3, query
        assert html.count('<td class="whole">') == 3, query
    assert "openai gpt-4o 503" in words(page.get("request?id=request-bad-0"))
    rows = page.http.get("/ui/requests.json?status=failed").json["data"]
    assert [row["request_id"] for row in rows] == [f"request-bad-{number}" for number in (2, 1, 0)]


def test_older_requests_follow(full: PageClient) -> None:
    html = full.get("requests")
    older = next(a["href"] for tag, a in elements(html) if tag == "a" and "before=" in (a.get("href") or ""))
    assert full.get(str(older)).count('<td class="whole">') == 61 - PAGE


def test_the_attempts_of_a_request_lie_where_the_record_says(page: PageClient) -> None:
    attempts = (
        Attempt("openai", "503", 0.5, "gpt-4o", 10_000_000_000),
        Attempt("llama", "200", 0.5, "llama-3.1-8b", 11_000_000_000),
    )
    page.rings.observe(
        a_record("two", attempts=attempts, started_ns=10_000_000_000, seconds=2.0, first_byte=1.5)
    )
    html = page.get("request?id=request-two")
    bars = [a for tag, a in elements(html) if tag == "rect"]
    shown = [(a["class"], float(a["x"] or 0), float(a["width"] or 0)) for a in bars]
    assert shown == [
        ("own", 0.0, 360.0),
        ("bad", 0.0, 90.0),
        ("good", 180.0, 180.0),
        ("mark", 270.0, 1.5),
    ]
    assert "openai gpt-4o 503 0 ms 500 ms" in words(html)


def test_a_request_that_no_upstream_saw_says_why(page: PageClient) -> None:
    changes = {"status": 429, "outcome": "ignored", "limited": "requests", "attempts": (), "upstream": None}
    page.rings.observe(a_record("limited", **changes))
    assert "the gateway refused the request by its limit of requests" in words(
        page.get("request?id=request-limited")
    )


def test_a_request_that_is_not_kept_is_in_the_journal(page: PageClient) -> None:
    answer = page.http.get("/ui/request?id=gone'\"><script>")
    assert answer.status_code == 404
    assert "journalctl -u flask-gateway -o cat -g" in answer.text
    assert "script" not in {tag for tag, _ in elements(answer.text)}


def test_texts_of_strangers_are_texts_everywhere(page: PageClient) -> None:
    for text in HOSTILE:
        ids = Ids(request=text[:100], trace=text[:100], traceparent="")
        attempts = (Attempt(text, text, 0.1, text),)
        page.rings.observe(
            a_record(ids=ids, key=text, model=text, upstream=text, code=text, path=text, attempts=attempts)
        )
        page.rings.note(text)
        plain = {tag for tag, _ in elements(page.get("requests?key=none"))}
        for path in (
            "requests",
            f"requests?key={quote(text)}&id={quote(text)}",
            f"request?id={quote(text[:100])}",
            "overview",
        ):
            html = page.get(path)
            known = plain | {
                "table",
                "thead",
                "tbody",
                "tr",
                "th",
                "td",
                "time",
                "figure",
                "svg",
                "rect",
                "path",
            }
            known |= {
                "title",
                "desc",
                "code",
                "dl",
                "dt",
                "dd",
                "div",
                "h2",
                "ul",
                "li",
                "figcaption",
                "details",
            }
            known |= {"summary", "pre", "strong", "bdi", "span"}
            found = [
                tag
                for tag, named in elements(html)
                if not (named.get("src") or "").startswith("static/page.js")
            ]
            assert set(found) <= known, path
            assert not any(name.startswith("on") for _, found in elements(html) for name in found)
        assert " ".join(text[:50].split()) in words(page.get("requests"))
        assert "49" not in words(page.get(f"request?id={quote(text[:100])}")).split()


def test_a_spreadsheet_gets_no_formula(page: PageClient) -> None:
    names = ["=1+1", "+x", "-x", "@x", 'a"b,c', "line\nfeed"]
    for name in names:
        page.rings.observe(a_record(name, model=name))
    answer = page.http.get("/ui/requests.csv")
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True), newline="")))
    assert [row["model"] for row in rows][::-1] == ["'=1+1", "'+x", "'-x", "'@x", 'a"b,c', "line\nfeed"]
    assert safe_cell(-1.5) == -1.5


def test_pages_stay_small_with_full_rings(page: PageClient) -> None:
    failed = {"status": 502, "outcome": "failure", "code": "upstream_unavailable"}
    for number in range(PAGE + 1):
        page.rings.observe(a_record(f"{number}-{'i' * 20}", model="m" * 60, key="k" * 40, **failed))
        page.rings.note("n" * 200)
    for path in ("requests", "overview", "overview?range=24h", "request?id=request-1-" + "i" * 20):
        assert len(page.get(path).encode()) <= 60_000, path


def test_json_has_the_names_of_the_log(page: PageClient) -> None:
    page.rings.observe(a_record())
    (row,) = json.loads(page.get("requests.json"))["data"]
    assert {"request_id", "trace_id", "key", "model", "upstream", "status", "outcome", "code"} <= row.keys()
