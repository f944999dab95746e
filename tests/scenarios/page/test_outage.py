"""An outage as an operator sees it first: what is wrong, since when, and what to do, for four faults at once.

An upstream stalls, one answers 429, one has a wrong credential, and the disk of the ledger is full. With
`PICTURES=docs/pictures`, the pictures of the documents are made.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep

import pytest
from kit.admins import ADMIN_KEY
from kit.browser import Browser
from kit.nginx import MAIN, is_open
from kit.page_session import PageSession
from kit.pages import chat_body
from kit.servers import Gateway, Upstream, free_port
from kit.waiting import PATIENCE, until

pytestmark = [pytest.mark.live, pytest.mark.browser]

KEY = "a-key-of-the-outage-that-is-long-enough"
SETTINGS = """
[ledger]
data = "{data}"
[keys.shop]
key_env = "SHOP_KEY"
[upstreams.stalls]
url = "{scripted}"
first_byte_seconds = 1
answer_seconds = 1
[upstreams.busy]
url = "mock://busy?status=429"
[upstreams.keyless]
url = "mock://keyless?status=401"
[upstreams.spare]
url = "mock://spare?tokens=30&rate=300"
[models.fast]
tiers = [["stalls/never"], ["spare/llama-3.1-8b"]]
[models.smart]
tiers = [["busy/gpt-4o"], ["keyless/claude-sonnet-4"], ["spare/llama-3.1-8b"]]
"""
#: The first look says of each fault its beginning, what it is and what to do.
SAID = {
    "stalls": r"Upstream stalls: open since \d\d:\d\d:\d\d.*upstream_timeout.*take it out",
    "busy": r"Upstream busy: (?:pausing|failing) since \d\d:\d\d:\d\d.*429.*raise its quota",
    "keyless": r"Upstream keyless: credential refused since \d\d:\d\d:\d\d.*401.*set a valid one",
    "ledger": r"Ledger since \d\d:\d\d:\d\d: .*cannot write what calls cost.*Free its disk",
    "disk": r"Disk since \d\d:\d\d:\d\d: only .*free.*Free some",
}
#: Before them, in a line that fits the first screen of a phone, all of them.
ALL = r"5 faults: (?:upstream (?:stalls|busy|keyless), ){3}ledger, disk\."
#: The page of each upstream says since when it fails, and what to do.
PAGES = {
    "stalls": r"failed in a row since \d\d:\d\d:\d\d\. It does not answer in time: take it out",
    "busy": r"failed in a row since \d\d:\d\d:\d\d\. It asks for fewer calls: raise its quota",
    "keyless": r"failed in a row since \d\d:\d\d:\d\d\. Its key is wrong or has expired: set a valid one",
}


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory, scripted: Upstream) -> Iterator[Gateway]:
    """A gateway with all four faults, after some calls, which were all answered."""
    folder = tmp_path_factory.mktemp("outage")
    data = folder / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "mode=0700,size=3m", "tmpfs", str(data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    text = SETTINGS.format(data=data, scripted=scripted.url)
    (folder / "gateway.toml").write_text(text)
    env = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), "GATEWAY_ADMIN_KEY": ADMIN_KEY, "SHOP_KEY": KEY}
    running = Gateway(folder, KEY, {**env, "GATEWAY_THREADS": "8"})
    try:
        for number in range(30):
            running.ask("POST", "/v1/chat/completions", chat_body("spare/warm" if number % 2 else "spare/up"))
        fill(data)
        for number in range(16):
            answer = running.ask("POST", "/v1/chat/completions", chat_body(("fast", "smart")[number % 2]))
            assert answer.status == 200, answer
        yield running
    finally:
        running.stop()
        subprocess.run(["umount", str(data)], check=True)


def fill(data: Path) -> None:
    """Leave no room on the disk."""
    file = os.open(data / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(file, bytes(4096))
    os.close(file)


@pytest.fixture(scope="module")
def place(outage: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page behind nginx."""
    folder, port = tmp_path_factory.mktemp("outage-nginx"), free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    site = f"""access_log off; server {{ listen 127.0.0.1:{port}; location /team/llm/ {{
        proxy_pass {outage.url}/; proxy_http_version 1.1; proxy_buffering off;
        proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; }} }}"""
    (folder / "nginx.conf").write_text(MAIN.format(user=user, more=site))
    server = subprocess.Popen(["nginx", "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
    assert until(lambda: is_open(port))
    yield f"http://127.0.0.1:{port}/team/llm/ui"
    server.terminate()
    server.wait(PATIENCE)


def bottom(browser: Browser, selector: str) -> float:
    """Where the last of these elements ends, pixels from the top of the page."""
    script = "return [...document.querySelectorAll(arguments[0])].pop().getBoundingClientRect().bottom"
    return float(browser.run(script, selector))


def test_the_first_look_says_what_is_wrong_since_when_and_what_to_do(
    outage: Gateway, chromium: Browser, place: str
) -> None:
    chromium.look(1100, 1000)
    chromium.cdp("Network.clearBrowserCookies")  # browsers do not tell ports of one host apart
    chromium.open(f"{place}/overview")
    chromium.type("#key", ADMIN_KEY)
    chromium.click("main button")
    assert until(lambda: "Upstream stalls" in chromium.text("main"))
    outage.ask("POST", "/v1/chat/completions", chat_body("smart"))  # its pauses are short
    if folder := os.environ.get("PICTURES"):
        for name in ("overview", "upstream?name=stalls"):
            chromium.open(f"{place}/{name}")
            sleep(1.5)  # live figures come each second
            chromium.picture(Path(folder) / f"page-outage-{name.partition('?')[0]}.png")
        chromium.look(360, 740)
        chromium.open(f"{place}/overview")
        chromium.picture(Path(folder) / "page-outage-phone.png")
    chromium.look(1100, 1000)
    chromium.open(f"{place}/overview")
    said = " ".join(chromium.text("main").split())
    for words in (ALL, *SAID.values()):
        assert re.search(words, said), (words, said)
    # The banners stand above the fold, before anything that is well.
    assert bottom(chromium, ".banner") < 900
    assert chromium.axe() == []
    chromium.look(360, 740)
    chromium.open(f"{place}/overview")
    assert until(lambda: bottom(chromium, "#faults") < 740), bottom(chromium, "#faults")
    for name, words in PAGES.items():
        for page in (f"upstream?name={name}", "upstreams"):
            chromium.open(f"{place}/{page}")
            assert re.search(words, " ".join(chromium.text("main").split())), (page, words)
    assert outage.stderr.count("Traceback") == 0


def test_both_workers_say_the_same(outage: Gateway) -> None:
    session = PageSession(outage.url)
    for _ in range(8):
        told = session.get("overview.json").json["data"]
        assert {one["subject"] for one in told["broken"]} >= {"ledger", "disk"}
        states = {one["name"]: one["state"] for one in told["upstreams"] if one["name"] != "busy"}
        assert states == {
            "stalls": "open",
            "keyless": "credential refused",
            "spare": "closed",
        }
