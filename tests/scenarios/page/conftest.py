"""A gateway after some calls, a real nginx that serves it below a path of its own, and a real Chromium."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from kit.admins import ADMIN_KEY
from kit.browser import Browser
from kit.needs import need
from kit.nginx import MAIN, is_open
from kit.pages import chat_body
from kit.servers import Gateway, Upstream, free_port
from kit.waiting import PATIENCE, until

KEY = "a-key-of-the-page-that-is-long-enough"
SETTINGS = """
failed_keys_per_minute = 10
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
[upstreams.slow]
url = "{scripted}"
[upstreams.steady]
url = "mock://steady?tokens=20&rate=20"
[models.steady]
tiers = [["openai/gpt-4o-mini"], ["steady/llama-3.1-8b"]]
[models.fast]
tiers = [["openai/gpt-4o-mini"], ["llama/llama-3.1-8b"]]
[models.slow]
tiers = [["slow/ok,tokens=3000,pause=0.05"]]
[models.smart]
tiers = [["claude/big"], ["llama/llama-3.1-8b"]]
"""
SITE = """access_log off; server {{ listen 127.0.0.1:{port}; location /team/llm/ {{
proxy_pass {url}/; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1h;
proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; }}
location /other/llm/ {{ proxy_pass {url}/; proxy_http_version 1.1; proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For 203.0.113.7; }} }}"""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream) -> Iterator[Gateway]:
    """A gateway with a good, a dead and a misconfigured upstream, after some calls."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "gateway.toml").write_text(SETTINGS.format(data=folder / "data", scripted=scripted.url))
    env = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), "GATEWAY_ADMIN_KEY": ADMIN_KEY, "WEB_KEY": KEY}
    running = Gateway(folder, KEY, env)
    for number in range(24):
        model = ("fast", "smart", "llama")[number % 3]
        ids = {"x_request_id": "the-first"} if number == 0 else {}
        running.ask("POST", "/v1/chat/completions", chat_body(model), **ids)
    running.ask("GET", "/v1/models", authorization="Bearer a-wrong-key")
    yield running
    running.stop()


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
    assert until(lambda: chromium.url == f"{site}/overview")
    chromium.messages()
    return chromium
