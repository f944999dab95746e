"""The operator's page in a real Chromium behind a real nginx, below a path of its own. Run by `make page`.

With `PICTURES=docs/pictures`, the pictures of the documents are made.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.admins import ADMIN_KEY
from kit.browser import Browser
from kit.needs import need
from kit.nginx import MAIN, is_open
from kit.servers import Gateway, free_port
from kit.waiting import PATIENCE, until

pytestmark = [pytest.mark.live, pytest.mark.browser]

KEY = "a-key-of-the-page-that-is-long-enough"
SETTINGS = """
[ledger]
data = "{data}"
[keys.web]
key_env = "WEB_KEY"
[upstreams.llama]
url = "mock://llama?tokens=30&rate=300"
[upstreams.openai]
url = "http://127.0.0.1:9"
[upstreams.claude]
url = "mock://claude?status=401"
[models.fast]
tiers = [["openai/gpt-4o-mini"], ["llama/llama-3.1-8b"]]
[models.smart]
tiers = [["claude/big"], ["llama/llama-3.1-8b"]]
"""
SITE = """access_log off; server {{ listen 127.0.0.1:{port}; location /team/llm/ {{
proxy_pass {url}/; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1h;
proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; }} }}"""
PAGES = (
    "overview",
    "overview?range=24h",
    "upstreams",
    "upstream?name=openai",
    "models?model=fast",
    "keys",
    "requests",
    "requests?failed_at=openai",
    "request?id=the-first",
    "spend",
    "settings",
    "health",
    "upstream?name=%3Cb%3E",
)


def chat(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a good, a dead and a misconfigured upstream, after some calls."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "gateway.toml").write_text(SETTINGS.format(data=folder / "data"))
    env = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), "GATEWAY_ADMIN_KEY": ADMIN_KEY, "WEB_KEY": KEY}
    running = Gateway(folder, KEY, env)
    for number in range(24):
        model = ("fast", "smart", "llama")[number % 3]
        ids = {"x_request_id": "the-first"} if number == 0 else {}
        running.ask("POST", "/v1/chat/completions", chat(model), **ids)
    running.ask("GET", "/v1/models", authorization="Bearer a-wrong-key")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def site(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page behind nginx."""
    need("nginx")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    more = SITE.format(port=port, url=gateway.url)
    (folder / "nginx.conf").write_text(MAIN.format(user=user, more=more))
    server = subprocess.Popen(["nginx", "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
    assert until(lambda: is_open(port))
    yield f"http://127.0.0.1:{port}/team/llm/ui"
    server.terminate()
    server.wait(PATIENCE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser, site: str) -> Browser:
    """Chromium with a session, at 1280 pixels, in light colours, with scripts."""
    chromium.look()
    chromium.open(f"{site}/overview")
    if chromium.url.endswith("/login?next=overview"):
        chromium.type("#key", ADMIN_KEY)
        chromium.click("main button")
    assert chromium.url == f"{site}/overview"
    chromium.messages()
    return chromium


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_is_whole(browser: Browser, site: str, width: int, dark: bool) -> None:
    browser.look(width, dark=dark)
    for page in PAGES:
        browser.open(f"{site}/{page}")
        assert browser.violations() == [], page
        assert [one for one in browser.messages() if "404" not in one] == [], page
        assert browser.foreign_requests() == [], page
        assert browser.axe() == [], page
        assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0, page
        assert browser.text("h1") in browser.run("return document.title"), page


def test_every_page_works_without_scripts(browser: Browser, site: str) -> None:
    browser.look(script=False)
    for page in PAGES:
        browser.open(f"{site}/{page}")
        assert browser.text("h1"), page
    browser.open(f"{site}/requests")
    browser.type("#f-model", "smart")
    browser.click("form.filter button")
    assert "model=smart" in browser.url
    browser.look()


def test_live_figures_come_without_a_reload_and_survive_a_reload_of_the_gateway(
    browser: Browser, gateway: Gateway
) -> None:
    assert until(lambda: browser.text("#live").startswith("Live"))
    before = browser.text(".cards")
    gateway.ask("POST", "/v1/chat/completions", chat("llama"))
    assert until(lambda: browser.text(".cards") != before)
    gateway.reload()
    shown = browser.text("#live")
    assert until(lambda: browser.text("#live").startswith("Live") and browser.text("#live") != shown)
    assert (browser.violations(), browser.messages()) == ([], [])


def test_a_filter_is_an_address_and_back_works(browser: Browser, site: str) -> None:
    browser.open(f"{site}/requests")
    browser.click("tbody td:nth-child(3) a")
    assert "model=" in browser.url
    browser.do("POST", "/back", {})
    assert browser.url == f"{site}/requests"


def test_the_cookie_is_for_the_folder_of_the_page(browser: Browser) -> None:
    (cookie,) = [one for one in browser.cookies() if one["name"] == "gateway_page"]
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/team/llm/ui", True, "Strict")


def test_an_upstream_is_taken_out_and_put_back_by_its_buttons(browser: Browser, site: str) -> None:
    browser.open(f"{site}/upstream?name=llama")
    assert "No other upstream serves" in browser.text()
    browser.click("button.danger")
    assert "taken out" in browser.text("main")
    browser.open(f"{site}/overview")
    assert "Upstream llama: taken out" in browser.text("main")
    browser.open(f"{site}/upstream?name=llama")
    browser.click("form[action='put-back'] button")
    assert until(lambda: "No new call goes" not in browser.text("body"))


def test_after_the_logout_back_shows_nothing(browser: Browser, site: str) -> None:
    browser.open(f"{site}/requests")
    browser.click(".who button")
    assert browser.url == f"{site}/login"
    browser.do("POST", "/back", {})
    assert "login" in browser.url
    assert "llama" not in browser.text()


def test_the_pictures_of_the_documents(browser: Browser, site: str) -> None:
    folder = os.environ.get("PICTURES")
    if folder is None:
        pytest.skip("PICTURES is not set")
    pages = {"overview": "overview", "upstreams": "upstreams", "request": "request?id=the-first"}
    for name, page in pages.items():
        browser.look(1100, 760)
        browser.open(f"{site}/{page}")
        browser.picture(Path(folder) / f"page-{name}.png")
