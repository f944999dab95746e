"""The page Try in a real Chromium: the answer comes in pieces, Stop really stops, headers are those sent."""

from __future__ import annotations

import pytest
from kit.browser import Browser
from kit.servers import Gateway, Upstream
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


def shows(browser: Browser, url: str, text: str) -> bool:
    """Whether a page has this text. The other worker writes a request into the rings a little later."""
    browser.open(url)
    return text in browser.text("main")


def ended(upstream: Upstream, prompt: str) -> str:
    """How the upstream's answer to this prompt ended; empty while it goes on."""
    (entry,) = (one for one in upstream.requests() if prompt in one["body"])
    return str(entry["ended"] or "")


def test_stop_ends_the_stream_of_the_upstream(
    browser: Browser, site: str, gateway: Gateway, scripted: Upstream
) -> None:
    ask(browser, site, "slow", prompt="stop while it streams")
    assert until(lambda: state(browser).startswith("Receiving"))
    assert ended(scripted, "stop while it streams") == ""
    browser.click("#t-stop")
    assert until(lambda: state(browser).startswith("Stopped after"))
    assert until(lambda: ended(scripted, "stop while it streams") == "peer left")
    assert browser.run("return document.querySelector('#t-stop').disabled")
    received = browser.text("#t-answer")
    identity = request_id(browser)
    assert gateway.logged(identity)["status"] == 499
    assert until(lambda: shows(browser, f"{site}/request?id={identity}", "499 left"))
    assert 0 < received.count("tok") < 3000


def test_stop_before_the_first_token_ends_the_call_at_the_upstream(
    browser: Browser, site: str, scripted: Upstream
) -> None:
    ask(browser, site, "slow/never", prompt="stop while it is silent")
    assert until(lambda: state(browser).startswith("Sent, waiting"))
    assert until(lambda: any("stop while it is silent" in one["body"] for one in scripted.requests()))
    browser.click("#t-stop")
    assert until(lambda: state(browser).startswith("Stopped after"))
    assert until(lambda: ended(scripted, "stop while it is silent") == "peer left")
    assert browser.text("#t-answer") == ""


def test_the_headers_shown_are_those_of_the_answer(browser: Browser, site: str) -> None:
    browser.open(f"{site}/try?model=steady")
    browser.run(
        "const real = window.fetch; window.fetch = async (...asked) => { const answer = await real(...asked);"
        " window.got = [...answer.headers]; return answer; }"
    )
    browser.type("#t-prompt", "hello")
    browser.click("#t-send")
    assert until(lambda: state(browser).startswith("Done"))
    got = [": ".join(pair) for pair in browser.run("return window.got")]
    shown = browser.run("return document.querySelector('#t-headers').textContent").splitlines()
    assert set(shown) <= set(got)
    assert {line for line in got if line.startswith("x-")} <= set(shown)
    assert {"x-request-id", "x-gateway-upstream", "content-type"} <= {line.split(": ")[0] for line in shown}


def test_a_refusal_says_why(browser: Browser, site: str) -> None:
    ask(browser, site, "fast", key="nobody")
    assert until(lambda: "There is no key 'nobody'" in state(browser))
    browser.messages()  # Chromium reports the status


def test_hostile_texts_stay_texts(browser: Browser, site: str) -> None:
    ask(browser, site, "llama", prompt="<img src=x onerror=alert(1)>")
    assert until(lambda: state(browser).startswith("Done"))
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert browser.violations() == []
