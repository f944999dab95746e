"""The upstreams: which fail, since when and why; taking out, putting back, forgetting failures."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from kit.calls import AUTH, chat
from kit.pages import HOSTILE, VIEWERS_KEY, PageClient, a_record, elements, words

from flask_gateway.config.schema import CandidateSettings, ModelSettings, UpstreamSettings
from flask_gateway.guards.breaker import PLAIN
from flask_gateway.model.call import Attempt, Outcome
from flask_gateway.model.errors import Verdict
from flask_gateway.state.memory import MemoryStore
from flask_gateway.telemetry.recent import AttemptEntry, decode, encoded, kind_of
from flask_gateway.web.page.attempts import FailureRow, attempts_of, failing_since, failure_rows, to_do
from flask_gateway.web.page.chart import strip


@pytest.fixture
def page(tmp_path: Path, store: MemoryStore) -> PageClient:
    """Two upstreams; the model `fast` has both, and `only` has the first alone."""
    upstreams = (
        UpstreamSettings(name="llama", url="mock://a"),
        UpstreamSettings(name="spare", url="mock://b"),
    )
    return PageClient(tmp_path, store, upstreams=upstreams, default_upstream="llama")


def entry(*results: str, upstream: str = "llama", at: float = 1.0) -> object:
    attempts = tuple(Attempt(upstream, result, 0.5) for result in results)
    record = a_record(attempts=attempts)
    return decode(encoded(record, kind_of(record), at, 2000))


def test_the_last_attempts_are_found_and_the_failures_in_a_row_counted() -> None:
    entries = [entry("503", at=3.0), entry("timeout", "503", at=2.0), entry("200", at=1.0)]
    tried = attempts_of(entries)["llama"]  # type: ignore[arg-type]
    assert [one.result for one in tried] == ["200", "timeout", "503", "503"]
    assert failing_since(tried) == (3, 2.0)
    assert failing_since([]) == (0, None)
    assert failing_since(tried[:1]) == (0, None)
    assert len(attempts_of([entry("200")] * 99)["llama"]) == 60  # type: ignore[list-item]
    assert isinstance(entry("200").attempts[0], AttemptEntry)  # type: ignore[attr-defined]


def test_the_overview_finds_the_same_failures_in_a_row() -> None:
    chance = random.Random(1)
    for length in (0, 1, 5, 90):
        for results in (("503",), ("200", "503", "timeout"), ("200", "429", "503", "503", "503", "503")):
            entries: list[Any] = [
                entry(
                    *chance.choices(results, k=2), upstream=chance.choice(("llama", "spare")), at=100.0 - age
                )
                for age in range(length)
            ]
            expected = {}
            for name, tried in attempts_of(entries).items():
                count, since = failing_since(tried)
                if since is not None:
                    expected[name] = FailureRow(tried[-1].result, since, count)
            assert failure_rows(entries) == expected
            assert attempts_of(entries, at="spare").get("spare") == attempts_of(entries).get("spare")


def test_the_page_says_what_to_do_about_a_failure() -> None:
    assert "set a valid one" in to_do("401")
    assert "status page" in to_do("503")
    assert to_do("something") == ""


def test_a_strip_is_as_tall_as_the_calls_took() -> None:
    bars = strip([(1.0, True), (2.0, False), (0.0, True)])
    assert bars.good == "M0 24v-14h4V24zM10 24v-4h4V24z"
    assert bars.bad == "M5 24v-24h4V24z"
    assert strip([]) == ("", "")


def test_the_page_says_what_is_broken_since_when_and_why(page: PageClient) -> None:
    breaker = next(one for one in page.app.extensions["gateway"].breakers if one.upstream == "spare")
    for caller in "abcdefghij":
        breaker.settle(PLAIN, Outcome(Verdict.FAILURE), caller)
    for number in range(4):
        attempts = (Attempt("spare", "upstream_timeout", 10.0),)
        page.rings.observe(
            a_record(number, status=504, outcome="failure", upstream="spare", attempts=attempts)
        )
    html = page.get("upstreams")
    shown = words(html)
    assert shown.index("spare ■ open") < shown.index("llama ● closed")
    assert "failures in a row, probe in" in shown
    assert "4 failed in a row since" in shown
    assert "Last failure: upstream_timeout at" in shown
    assert "Not asked lately." in shown
    (bad,) = [a["d"] or "" for tag, a in elements(html) if a.get("class") == "bad" and a["d"]]
    assert bad.count("M") == 4
    (first, _) = page.http.get("/ui/upstreams.json").json["data"]
    assert (first["name"], first["state"], first["failing"], len(first["last"])) == ("spare", "open", 4, 4)
    detail = words(page.get("upstream?name=spare"))
    assert "first byte 10 s" in detail
    assert "Last failure: upstream_timeout" in detail


def test_an_upstream_is_taken_out_and_put_back(page: PageClient) -> None:
    def reached() -> str:
        answer = page.http.post("/v1/chat/completions", json=chat("llama"), headers=AUTH)
        return "" if answer.status_code == 200 else str(answer.json["error"]["message"])

    assert "No other upstream serves" in words(page.get("upstream?name=llama"))
    answer = page.send("take-out", name="llama", seconds="600")
    assert answer.headers["Location"] == "upstream?name=llama"
    assert "operator has taken upstream 'llama' out" in reached()
    assert "by an admin, for 10 min more" in words(page.get("upstreams"))
    assert "Upstream llama: taken out." in words(page.get("overview"))
    routes = page.http.get("/v1/routes/llama", headers=AUTH).json
    assert routes["candidates"][0]["reason"] == "taken out"
    assert "No new call goes to this upstream" in words(page.get("upstream?name=llama"))
    page.send("put-back", name="llama")
    assert reached() == ""
    notes = [note.text for note in page.rings.notes()]
    assert any(note.startswith("page: admin: put back the upstream 'llama' (from") for note in notes)
    assert any("took out for 10 min the upstream 'llama'" in note for note in notes)


def test_failures_are_forgotten(page: PageClient) -> None:
    breaker = page.app.extensions["gateway"].breakers[0]
    for caller in "abcdefghij":
        breaker.settle(PLAIN, Outcome(Verdict.FAILURE), caller)
    assert breaker.status().state == "OPEN"
    page.send("forget", name=breaker.upstream)
    assert breaker.status().state == "CLOSED"


def test_an_unknown_upstream_is_refused_with_a_page(page: PageClient) -> None:
    for name in ("", "nothing", *HOSTILE):
        for answer in (
            page.http.get("/ui/upstream", query_string={"name": name}),
            page.send("take-out", name=name),
        ):
            assert answer.status_code == 404
            assert "There is no upstream" in words(answer.text)
            assert not {"script", "img"} & {tag for tag, _ in elements(answer.text)}


def test_only_the_times_of_the_form_are_accepted(page: PageClient) -> None:
    for seconds in ("", "0", "-1", "nan", "1e9", "3600x"):
        assert page.send("take-out", name="llama", seconds=seconds).status_code == 400
        assert page.app.extensions["gateway"].breakers[0].status().taken_out == 0


def test_a_viewer_sees_no_buttons(page: PageClient) -> None:
    page.forget()
    page.log_in(VIEWERS_KEY)
    html = page.get("upstream?name=llama")
    actions = [found.get("action") for tag, found in elements(html) if tag == "form"]
    assert actions == ["logout"]


def test_the_warning_names_the_models_that_nothing_else_serves(tmp_path: Path, store: MemoryStore) -> None:
    def model(name: str, *places: str) -> ModelSettings:
        return ModelSettings(
            name=name, tiers=tuple((CandidateSettings(upstream=u, model="m"),) for u in places)
        )

    upstreams = tuple(UpstreamSettings(name=name, url="mock://x") for name in ("one", "two", "three"))
    models = (model("both", "one", "two"), model("lonely", "one"))
    page = PageClient(tmp_path, store, upstreams=upstreams, models=models)
    assert "No other upstream serves lonely." in words(page.get("upstream?name=one"))
    assert "No other upstream serves" not in words(page.get("upstream?name=two"))
    assert "No other upstream serves three." in words(page.get("upstream?name=three"))
