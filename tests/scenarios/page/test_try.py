"""The page Try in a real Chromium: the answer comes in pieces, Stop really stops, headers are those sent."""

from __future__ import annotations

import pytest
from kit.browser import Browser
from kit.servers import Gateway
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.browser]


def state(browser: Browser) -> str:
    return browser.text("#t-state")


def ask(browser: Browser, site: str, model: str, prompt: str = "hello", key: str = "") -> None:
    browser.open(f"{site}/try?model={model}")
    browser.type("#t-prompt", prompt)
    if key:
        browser.type("#t-key", key)
    browser.click("#t-send")


def request_id(browser: Browser) -> str:
    assert until(
        lambda: "x-request-id" in browser.run("return document.querySelector('#t-headers').textContent")
    )
    headers = browser.run("return document.querySelector('#t-headers').textContent")
    return str(dict(line.split(": ", 1) for line in headers.splitlines())["x-request-id"])


def test_a_stream_comes_in_pieces_with_its_attempts(browser: Browser, site: str, gateway: Gateway) -> None:
    ask(browser, site, "steady")
    assert until(lambda: state(browser).startswith("Done"))
    pieces = int(state(browser).split(" in ")[1].split()[0])
    assert pieces > 1
    assert browser.text("#t-answer")
    facts = browser.text("#t-facts")
    assert "steady" in facts
    assert "openai" in facts  # it was asked first, or passed by
    assert "tokens" in facts
    line = gateway.logged(request_id(browser))
    assert (line["key"], line["status"], line["model"]) == ("page:admin", 200, "steady")
    assert (browser.violations(), browser.messages()) == ([], [])


def test_stop_really_stops(browser: Browser, site: str, gateway: Gateway) -> None:
    ask(browser, site, "slow")
    assert until(lambda: state(browser).startswith("Receiving"))
    browser.click("#t-stop")
    assert until(lambda: state(browser).startswith("Stopped"))
    assert gateway.logged(request_id(browser))["status"] == 499


def test_a_refusal_says_why(browser: Browser, site: str) -> None:
    ask(browser, site, "fast", key="nobody")
    assert until(lambda: "There is no key 'nobody'" in state(browser))
    browser.messages()  # Chromium reports the status


def test_hostile_texts_stay_texts(browser: Browser, site: str) -> None:
    ask(browser, site, "llama", prompt="<img src=x onerror=alert(1)>")
    assert until(lambda: state(browser).startswith("Done"))
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert browser.violations() == []
