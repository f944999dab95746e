"""Live pages in a real Chromium: figures come without a reload, and outlive reloads and killed workers."""

from __future__ import annotations

import os
import signal

import pytest
from kit.browser import Browser
from kit.exchanges import open_files
from kit.pages import chat_body
from kit.servers import Gateway
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.browser]


def state(browser: Browser) -> str:
    return browser.text("#live")


def is_live(browser: Browser) -> bool:
    return bool(until(lambda: state(browser).startswith("Live")))


def goes_on(browser: Browser) -> bool:
    """Whether newer figures come than those that are shown."""
    shown = state(browser)
    return bool(until(lambda: state(browser).startswith("Live") and state(browser) != shown))


def test_figures_come_and_survive_a_reload_of_the_gateway(browser: Browser, gateway: Gateway) -> None:
    assert is_live(browser)
    before = browser.text(".cards")
    gateway.ask("POST", "/v1/chat/completions", chat_body("llama"))
    assert until(lambda: browser.text(".cards") != before)
    gateway.reload()
    assert goes_on(browser)
    assert browser.violations() == []


def test_a_call_is_among_the_requests_at_once(browser: Browser, site: str, gateway: Gateway) -> None:
    browser.open(f"{site}/requests")
    assert is_live(browser)
    gateway.ask("POST", "/v1/chat/completions", chat_body("llama"), x_request_id="live-now")
    assert until(lambda: "live-now" in browser.text("tbody"))


def test_a_filtered_list_stays_and_says_that_others_have_come(
    browser: Browser, site: str, gateway: Gateway
) -> None:
    browser.open(f"{site}/requests?model=llama&before=9999999999")
    assert until(lambda: state(browser).startswith("No request has come"))
    browser.type("#f-key", "half a wo")
    rows = browser.text("tbody")
    gateway.ask("POST", "/v1/chat/completions", chat_body("llama"), x_request_id="after-the-filter")
    assert until(lambda: state(browser).startswith("1 more"))
    assert browser.text("tbody") == rows
    assert browser.run("return document.querySelector('#f-key').value") == "half a wo"
    browser.click("#live a")
    assert until(lambda: "before" not in browser.url and "after-the-filter" in browser.text("tbody"))
    assert "model=llama" in browser.url


def test_a_killed_worker_stops_no_live_page(browser: Browser, site: str, gateway: Gateway) -> None:
    browser.open(f"{site}/upstreams")
    assert is_live(browser)
    workers = set(gateway.workers)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        assert until(
            lambda killed=worker: killed not in gateway.workers and len(gateway.workers) == len(workers)
        )
        assert goes_on(browser)
    browser.open(f"{site}/request?id=the-first")
    assert "the-first" in browser.text("main")  # the rings outlive the workers that wrote them
    browser.messages()  # Chromium reports the connections that broke


def test_both_workers_show_the_same_totals(browser: Browser, site: str) -> None:
    browser.open(f"{site}/overview?range=24h")
    fetch = """
    const done = arguments[arguments.length - 1];
    const ask = () => fetch("overview.json?range=24h", {cache: "no-store"}).then(one => one.json());
    Promise.all(Array.from({length: 8}, ask)).then(all => done(all.map(one => one.data.cards[0].more)));
    """
    totals = browser.do("POST", "/execute/async", {"script": fetch, "args": []})
    assert len(set(totals)) == 1, totals


def test_a_hidden_page_hangs_up(browser: Browser, gateway: Gateway) -> None:
    def open_lines() -> int:
        opened = [name for worker in gateway.workers for name in open_files(worker).values()]
        return opened.count("anon_inode:[eventfd]")

    assert is_live(browser)
    shown = open_lines()
    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    browser.run(hide + tell, True)
    assert until(lambda: open_lines() < shown)
    browser.run(hide + tell, False)
    assert goes_on(browser)
