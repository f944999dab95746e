"""The actions of an admin on a gateway with two workers: upstreams, keys, another admin key."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.admins import ADMIN_KEY
from kit.page_session import JSON, PAGES, PageSession
from kit.pages import VIEWERS_KEY
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import ask, open_stream

pytestmark = [pytest.mark.live, pytest.mark.browser]

KEY = "a-key-of-the-operators-that-is-long"
ANOTHER = "another-key-of-the-operators-of-40-signs"
UPSTREAM_KEY = "planted-upstream-key-of-the-page"
SETTINGS = """
[ledger]
data = "{data}"
[admins.ann]
key_file = "ann.key"
[admins.eyes]
key_env = "EYES_KEY"
role = "viewer"
[keys.web]
key_env = "WEB_KEY"
[upstreams.first]
url = "mock://first?tokens=200&rate=40"
[upstreams.second]
url = "{scripted}"
api_key_env = "SECOND_KEY"
[models.fast]
tiers = [["first/m"], ["second/ok"]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operating")


@pytest.fixture(scope="module")
def running(folder: Path, scripted: Upstream) -> Iterator[Gateway]:
    (folder / "ann.key").write_text(ADMIN_KEY)
    (folder / "ann.key").chmod(0o600)
    (folder / "gateway.toml").write_text(SETTINGS.format(data=folder / "data", scripted=scripted.url))
    env = {
        "GATEWAY_CONFIG": str(folder / "gateway.toml"),
        "WEB_KEY": KEY,
        "EYES_KEY": VIEWERS_KEY,
        "SECOND_KEY": UPSTREAM_KEY,
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "0",
    }
    gateway = Gateway(folder, KEY, env)
    gateway.secrets |= {ADMIN_KEY, VIEWERS_KEY, UPSTREAM_KEY, ANOTHER}
    yield gateway
    gateway.stop()
    assert not [secret for secret in gateway.secrets if secret in gateway.stderr]


def shown(session: PageSession, path: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", session.get(path).body.decode()).split())


def test_an_upstream_that_is_taken_out_ends_its_streams_and_gets_no_new_call(running: Gateway) -> None:
    admin, viewer = PageSession(running.url), PageSession(running.url, VIEWERS_KEY)
    with open_stream(running.port, KEY, "fast") as stream:
        assert stream.status == 200
        assert admin.send("take-out", name="first", seconds="3600").status == 303
        assert until(lambda: "1 calls are still in flight" in shown(admin, "upstream?name=first"))
        assert until(lambda: running.chat("fast").headers["x-gateway-upstream"] == "second")
        assert stream.data()[-1] == "[DONE]"
    assert until(lambda: "It is empty: no call is in flight" in shown(admin, "upstream?name=first"))
    assert [running.chat("fast").headers["x-gateway-upstream"] for _ in range(8)] == ["second"] * 8
    html = viewer.get("upstream?name=first").body.decode()
    assert not {"take-out", "put-back", "forget"} & set(re.findall(r'action="([^"]+)"', html))
    assert admin.send("put-back", name="first").status == 303
    assert until(lambda: running.chat("fast").headers["x-gateway-upstream"] == "first")


def test_a_key_works_on_every_worker_at_once_and_is_shown_once(running: Gateway) -> None:
    admin = PageSession(running.url)
    form = {"name": "app", "token": secrets.token_urlsafe(12)}
    answer = admin.send("create-key", **form).body.decode()
    key, identity = re.search(r"sk-fgw-\w{49}", answer), re.search(r"key\?id=(key_\w+)", answer)
    assert key
    assert identity
    running.secrets.add(key[0])

    def statuses() -> set[int]:
        named = {"authorization": f"Bearer {key[0]}"}
        return {ask(running.port, "GET", "/v1/models", headers=named).status for _ in range(12)}

    assert statuses() == {200}
    assert key[0] not in admin.send("create-key", **form).body.decode()  # the form is sent again
    for path in (*PAGES, *JSON, f"key?id={identity[1]}"):
        assert key[0] not in admin.get(path).body.decode(), path
    assert admin.send("key-state", id=identity[1], do="revoke", confirm="app").status == 303
    assert until(lambda: statuses() == {401})


def test_no_page_has_a_secret(running: Gateway) -> None:
    admin = PageSession(running.url)
    named = ("upstream?name=second", "upstream.json?name=second", "models?model=fast", "requests.csv")
    for path in (*PAGES, *JSON, *named):
        text = admin.get(path).body.decode()
        assert not [secret for secret in running.secrets if secret in text], path


def test_a_refused_file_is_told_and_the_old_settings_stay(running: Gateway, folder: Path) -> None:
    admin, file = PageSession(running.url), folder / "gateway.toml"
    good = file.read_text()
    try:
        file.write_text(good + "\n[models.broken]\ntiers = 3\n")
        assert until(lambda: "models.broken" in shown(admin, "health"))
        assert running.chat("second/ok").status == 200
    finally:
        file.write_text(good)
    assert until(lambda: "models.broken.tiers" not in shown(admin, "settings"))


def lets_in(gateway: Gateway, key: str) -> bool:
    """Whether a login with this key succeeds."""
    try:
        return PageSession(gateway.url, key).get("overview").status == 200
    except AssertionError:
        return False


def test_another_admin_key_ends_all_sessions(running: Gateway, folder: Path) -> None:
    admin, viewer = PageSession(running.url), PageSession(running.url, VIEWERS_KEY)
    try:
        (folder / "ann.key").write_text(ANOTHER)  # the gateway follows the file
        assert until(lambda: [admin.get("overview").status for _ in range(12)] == [303] * 12)
        assert [viewer.get("overview").status for _ in range(12)] == [200] * 12
        # One worker may learn of the key a little later, and then refuses the form of the other.
        assert until(lambda: lets_in(running, ANOTHER))
    finally:
        (folder / "ann.key").write_text(ADMIN_KEY)
