"""Every page in a real Chromium behind a real nginx, below a path of its own. Run by `make page`.

With `PICTURES=docs/pictures`, the pictures of the documents are made.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit.browser import Browser
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.browser]

PAGES = (
    "overview",
    "overview?range=24h",
    "upstreams",
    "upstream?name=openai",
    "models?model=fast",
    "keys",
    "requests",
    "requests?status=failed",
    "requests?failed_at=openai",
    "request?id=the-first",
    "spend",
    "spend?by=day",
    "try?model=fast",
    "settings",
    "health",
    "upstream?name=%3Cb%3E",
)


def whole(browser: Browser, page: str) -> None:
    """Assert what holds on every page: policy, console, origin, WCAG, width and title."""
    assert browser.violations() == [], page
    refused = ("404", "status of 400")  # Chromium reports the status of the page itself
    assert [one for one in browser.messages() if not any(word in one for word in refused)] == [], page
    assert browser.foreign_requests() == [], page
    assert browser.axe() == [], page
    assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0, page
    assert browser.text("h1") in browser.run("return document.title"), page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_is_whole(browser: Browser, site: str, width: int, dark: bool) -> None:
    browser.look(width, dark=dark)
    for page in PAGES:
        browser.open(f"{site}/{page}")
        whole(browser, page)


def test_the_login_and_what_a_form_answers_are_whole(browser: Browser, site: str) -> None:
    """The faces that no address has alone: the login, a key that is shown once, and a form with a mistake."""
    for width, dark in ((1280, False), (360, True)):
        browser.look(width, dark=dark)
        browser.open(f"{site}/login?next=keys")
        whole(browser, "login")
        for requests, answer in (("60", "The new key"), ("-1", "requests")):
            browser.open(f"{site}/keys")
            browser.run("document.querySelector('#n-name').closest('details').open = true")
            browser.type("#n-name", f"app-{width}")
            browser.type("#n-requests", requests)
            browser.click("form[action='create-key'] button")
            assert until(lambda: browser.url.endswith("/create-key")), browser.text()
            assert answer in browser.text("main")
            whole(browser, f"create-key: {answer}")


def test_every_page_works_without_scripts(browser: Browser, site: str) -> None:
    browser.look(script=False)
    for page in PAGES:
        browser.open(f"{site}/{page}")
        assert browser.text("h1"), page
    browser.open(f"{site}/requests")
    browser.type("#f-model", "smart")
    browser.click("form.filter button")
    assert until(lambda: "model=smart" in browser.url)
    browser.look()


def test_a_filter_is_an_address_and_back_works(browser: Browser, site: str) -> None:
    browser.open(f"{site}/requests")
    browser.click("tbody td:nth-child(3) a")
    assert until(lambda: "model=" in browser.url)
    browser.do("POST", "/back", {})
    assert until(lambda: browser.url == f"{site}/requests")


def test_the_bars_of_a_request_lie_where_its_record_says(browser: Browser, site: str) -> None:
    browser.open(f"{site}/request?id=the-first")
    bars = browser.run(
        "return [...document.querySelectorAll('main svg rect')].map("
        "one => [one.getAttribute('class'), one.x.baseVal.value, one.width.baseVal.value])"
    )
    (_, _, all_of_it), *attempts = [bar for bar in bars if bar[0] != "mark"]
    script = (
        "const done = arguments[0]; fetch('request.json?id=the-first').then(one => one.json()).then(done)"
    )
    (told,) = browser.do("POST", "/execute/async", {"script": script, "args": []})["data"]
    scale = all_of_it / told["seconds"]
    assert len(attempts) == len(told["attempts"])
    for (_, x, width), attempt in zip(attempts, told["attempts"], strict=True):
        assert x == pytest.approx(attempt["at"] * scale, abs=1.0)
        assert x + width <= all_of_it + 1.0
    assert attempts[-1][1] + attempts[-1][2] == pytest.approx(all_of_it, abs=1.0)


def test_the_cookie_is_for_the_folder_of_the_page(browser: Browser) -> None:
    (cookie,) = [one for one in browser.cookies() if one["name"] == "gateway_page"]
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/team/llm/ui", True, "Strict")


def test_an_upstream_is_taken_out_and_put_back_by_its_buttons(browser: Browser, site: str) -> None:
    browser.open(f"{site}/upstream?name=slow")
    assert "No other upstream serves slow" in browser.text()
    browser.open(f"{site}/upstream?name=llama")
    assert "No other upstream serves" not in browser.text()  # other upstreams serve its models, too
    browser.click("button.danger")
    assert until(lambda: "taken out" in browser.text("main"))
    browser.open(f"{site}/overview")
    assert "Upstream llama: taken out" in browser.text("main")
    browser.open(f"{site}/upstream?name=llama")
    browser.click("form[action='put-back'] button")
    assert until(lambda: "No new call goes" not in browser.text("body"))


def test_after_the_logout_back_shows_nothing(browser: Browser, site: str) -> None:
    browser.open(f"{site}/requests")
    browser.click(".who button")
    assert until(lambda: browser.url == f"{site}/login")
    browser.do("POST", "/back", {})
    assert until(lambda: "login" in browser.url)
    assert "llama" not in browser.text()


def test_the_pictures_of_the_documents(browser: Browser, site: str) -> None:
    folder = os.environ.get("PICTURES")
    if folder is None:
        pytest.skip("PICTURES is not set")
    browser.look(1100, 760)
    pages = {"overview": "overview", "upstreams": "upstreams", "request": "request?id=the-first"}
    for name, page in pages.items():
        browser.open(f"{site}/{page}")
        if name != "request":
            assert until(lambda: "Live" in browser.text("#live"))
        browser.picture(Path(folder) / f"page-{name}.png")
    browser.open(f"{site}/try?model=fast")
    browser.type("#t-prompt", "Say hello to the operators.")
    browser.click("#t-send")
    assert until(lambda: "Done" in browser.text("#t-state"))
    browser.picture(Path(folder) / "page-try.png")
