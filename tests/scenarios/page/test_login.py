"""The login in a real Chromium behind a real nginx: wrong keys, the lock, blocked cookies, old sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from kit.admins import ADMIN_KEY
from kit.browser import Browser
from kit.page_session import PageSession
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import ask

pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Browser]:
    """Chromium without a session."""
    chromium.look()
    chromium.cdp("Network.clearBrowserCookies")
    yield chromium
    chromium.cdp("Network.clearBrowserCookies")
    chromium.messages()  # Chromium reports each refusal


def log_in(browser: Browser, key: str) -> None:
    browser.type("#key", key)
    browser.click("main button")


def test_a_login_leads_to_the_page_that_was_wanted(visitor: Browser, site: str) -> None:
    visitor.open(f"{site}/requests?status=failed")
    assert "login?next=requests%3Fstatus%3Dfailed" in visitor.url
    log_in(visitor, "a-wrong-key-of-nobody")
    assert until(lambda: "This key does not open the page" in visitor.text())
    log_in(visitor, ADMIN_KEY)
    assert until(lambda: visitor.url == f"{site}/requests?status=failed")
    assert visitor.axe() == []


def test_no_login_leads_to_another_site(visitor: Browser, site: str) -> None:
    visitor.open(f"{site}/login?next=//evil.example")
    log_in(visitor, ADMIN_KEY)
    assert until(lambda: visitor.url == f"{site}/overview")


def test_blocked_cookies_are_named(visitor: Browser, site: str) -> None:
    visitor.open(f"{site}/login")
    visitor.cdp("Network.clearBrowserCookies")
    log_in(visitor, ADMIN_KEY)
    assert until(lambda: "Cookies are blocked" in visitor.text())


def test_an_old_cookie_opens_nothing_on_any_worker(gateway: Gateway) -> None:
    session = PageSession(gateway.url)
    old = {"cookie": session.cookies}
    assert ask(gateway.port, "GET", "/ui/overview", headers=old).status == 200
    assert session.send("logout").status == 303
    for _ in range(12):  # both workers answer
        assert ask(gateway.port, "GET", "/ui/overview", headers=old).status == 303
        assert ask(gateway.port, "GET", "/v1/models", headers=old).status == 401


def test_wrong_keys_lock_the_address_of_the_browser_and_not_the_proxy(
    visitor: Browser, site: str, gateway: Gateway
) -> None:
    """nginx names another address for this test, so that it locks out no other."""
    visitor.open(f"{site.replace('/team/', '/other/')}/login")
    for _ in range(12):
        log_in(visitor, "a-wrong-key-of-nobody")
        assert until(lambda: "does not open the page" in visitor.text() or "Too many" in visitor.text())
        if "Too many" in visitor.text():
            break
    assert "Wait" in visitor.text()
    lines = [json.loads(line) for line in gateway.stderr.splitlines() if '"/ui/login"' in line]
    assert lines[-1]["status"] == 429
    assert PageSession(gateway.url).get("overview").status == 200  # another address is not locked out
