"""The button that runs `doctor`, in a real Chromium without scripts, behind a real nginx."""

from __future__ import annotations

import pytest
from kit.browser import Browser
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.browser]


def test_the_doctor_says_what_is_wrong(browser: Browser, site: str) -> None:
    browser.look(script=False)
    browser.open(f"{site}/health")
    browser.click("form[action='doctor'] button")
    assert until(lambda: "It has ended" in browser.text("main"))
    said = browser.text("main")
    assert "● ok" in said
    assert "openai" in said  # no server listens at its address
    browser.look()
    assert [one for one in browser.messages() if "404" not in one] == []
    assert browser.axe() == []
