"""Texts of strangers in a real Chromium: scripts, line feeds and marks of direction harm no page."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from kit.browser import Browser
from kit.page_session import PageSession
from kit.pages import HOSTILE, chat_body
from kit.servers import Gateway
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.browser]

PAGES = ("overview", "upstreams", "requests", "health", "keys", "models")
#: The elements that no page has, and what a script of a stranger would have done.
HARM = """
const strange = "main img, main script, main iframe, main style, [onerror], [onload]";
return [document.querySelectorAll(strange).length, window.harmed === true,
    document.documentElement.scrollWidth - innerWidth > 0];
"""


@pytest.fixture(scope="module")
def visited(gateway: Gateway) -> Gateway:
    """The gateway after calls of strangers: as a model, as an id, as the name of a key and of a page."""
    admin = PageSession(gateway.url)
    for number, text in enumerate(HOSTILE):
        body, identity = chat_body(f"llama/{text}"), f"stranger-{number}"
        gateway.ask("POST", "/v1/chat/completions", body, x_request_id=identity)
        gateway.ask("POST", "/v1/chat/completions", chat_body(text))
        shown = "".join(sign for sign in text if sign.isprintable() and sign.isascii())[:100]
        gateway.ask("POST", "/v1/chat/completions", chat_body("llama"), x_request_id=shown)
        gateway.ask("GET", f"/v1/{quote(text)[:200]}")
        made = admin.send("create-key", name=f"key-{number}", note=text)
        assert made.status in (200, 400), made
    return gateway


def test_no_page_is_harmed(visited: Gateway, browser: Browser, site: str) -> None:
    ids = [f"request?id=stranger-{number}" for number in range(len(HOSTILE))]
    filters = [f"requests?model={quote(text)}" for text in HOSTILE]
    named = ("upstream?name", "models?model", "health?q")
    others = [f"{page}={quote(text)}" for text in HOSTILE for page in named]
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", source="alert = () => { window.harmed = true; }")
    for width in (1280, 360):
        browser.look(width)
        for page in (*PAGES, *ids, *filters, *others):
            browser.open(f"{site}/{page}")
            assert browser.run(HARM) == [0, False, False], page
            assert browser.violations() == [], page
    browser.look()
    browser.messages()  # Chromium reports each 404


def test_a_live_page_is_not_harmed(visited: Gateway, browser: Browser, site: str) -> None:
    browser.open(f"{site}/requests")
    assert until(lambda: browser.text("#live").startswith("Live"))
    for text in HOSTILE:
        visited.ask("POST", "/v1/chat/completions", chat_body(f"llama/{text}"))
    assert until(lambda: "{{ 7 * 7 }}" in browser.text("tbody"))
    assert browser.run(HARM) == [0, False, False]
    assert browser.violations() == []
    assert browser.text("#live").startswith("Live")
