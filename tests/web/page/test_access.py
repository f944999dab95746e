"""The login, sessions, forms, and the walk over all paths as nobody and with foreign tokens."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from kit.admins import ADMIN, ADMIN_KEY, ADMINS
from kit.calls import AUTH, make_settings
from kit.pages import VIEWERS_KEY, PageClient, elements, words
from msgspec import structs

from flask_gateway import create_app
from flask_gateway.state.contract import StoreFull
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.page import rendering, session
from flask_gateway.web.page.access import COOKIE, SAFE
from flask_gateway.web.page.login import next_page

OPEN = {"/ui/login", "/ui/static/<name>"}


def paths(page: PageClient, method: str) -> list[str]:
    rules = page.app.url_map.iter_rules()
    return sorted(
        rule.rule
        for rule in rules
        if rule.endpoint.startswith("gateway_page.") and method in (rule.methods or ())
    )


def test_without_an_admin_there_is_no_page() -> None:
    client = create_app(make_settings()).test_client()
    unknown = client.get("/nothing", headers=AUTH)
    for path in ("/ui", "/ui/overview", "/ui/login", "/ui/static/page.css"):
        answer = client.get(path, headers=AUTH)
        assert (answer.status_code, answer.json["error"]["code"]) == (404, unknown.json["error"]["code"])
        assert client.get(path).status_code == 401


def test_every_path_asks_nobody_to_log_in(page: PageClient) -> None:
    page.forget()
    walked = [path for path in paths(page, "GET") if path not in OPEN]
    assert len(walked) > 5
    for path in walked:
        answer = page.http.get(path)
        assert answer.status_code == 303, path
        assert re.fullmatch(r"(ui/)?login(\?next=[\w.%]*)?", answer.headers["Location"]), path
        assert page.http.get(path, headers={"Sec-Fetch-Mode": "cors"}).status_code == 401
    for path in paths(page, "POST"):
        if path not in OPEN:
            assert page.http.post(path).status_code == 401, path


def test_a_viewer_sees_every_page_and_sends_no_form_but_the_logout(page: PageClient) -> None:
    page.forget()
    assert page.log_in(VIEWERS_KEY).status_code == 303
    assert "eyes (viewer)" in words(page.get("overview"))
    token = page.form_token()
    for path in paths(page, "POST"):
        if path not in OPEN | {"/ui/logout"}:
            assert page.http.post(path, data={"csrf": token}).status_code == 403, path
    assert page.send("logout").status_code == 303


def test_a_digest_alone_signs_no_session(tmp_path: Path, store: MemoryStore) -> None:
    """The reader of `sha256` in the file must not be able to make a cookie."""
    page = PageClient(tmp_path, store, admins=ADMINS)
    page.get("overview")
    for secret in (b"", ADMINS[0].digest):
        forged = session.written(session.begin("admin", time.time()), session.signing_key(secret))
        page.forget()
        page.http.set_cookie(COOKIE, forged, path="/ui")
        assert page.http.get("/ui/overview").status_code == 303


def test_every_form_is_refused_without_its_token(page: PageClient) -> None:
    for token in ("", "x", "é"):
        for path in paths(page, "POST"):
            if path not in OPEN:
                assert page.http.post(path, data={"csrf": token}).status_code == 403, path


def test_every_form_is_refused_from_another_site(page: PageClient) -> None:
    token = page.form_token()
    for path in paths(page, "POST"):
        if path not in OPEN:
            answer = page.http.post(path, data={"csrf": token}, headers={"Sec-Fetch-Site": "cross-site"})
            assert answer.status_code == 403, path
    assert page.log_in(Sec_Fetch_Site="cross-site").status_code in (303, 400)


def test_keys_do_not_open_the_page_and_the_page_does_not_open_calls(page: PageClient) -> None:
    assert page.http.get("/v1/models").status_code == 401  # with the cookie of the page
    assert page.http.get("/admin/v1/keys").status_code == 401
    page.forget()
    for headers in (AUTH, ADMIN):
        assert page.http.get("/ui/overview", headers=headers).status_code == 303
    assert page.log_in(AUTH["Authorization"].removeprefix("Bearer ")).status_code == 401


def test_an_unknown_path_is_as_unknown_as_any(page: PageClient) -> None:
    assert page.http.get("/ui/nothing").status_code == 401
    assert page.http.get("/ui/nothing", headers=AUTH).status_code == 404
    assert page.http.get("/ui/static/../login.py", headers=AUTH).status_code == 404
    assert page.http.get("/ui/static/nothing").status_code == 404


def test_a_path_that_a_proxy_sees_otherwise_is_unknown(page: PageClient) -> None:
    answer = page.http.get("/ui/overview", environ_overrides={"RAW_URI": "/%75i/overview"})
    assert answer.status_code == 404


def test_a_login_leads_to_the_page_that_was_wanted(page: PageClient) -> None:
    page.forget()
    answer = page.http.get("/ui/requests?status=failed&key=a%26b")
    asked = page.http.get(f"/ui/{answer.headers['Location']}")
    wanted = next(a["value"] for tag, a in elements(asked.text) if a.get("name") == "next")
    assert page.log_in(wanted=wanted or "").headers["Location"] == "requests?status=failed&key=a%26b"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil",
        "https://evil",
        "\\evil",
        "/evil",
        "a/../b",
        "javascript:x",
        "a\r\nb",
        "..",
        "",
        "x" * 2000,
        "é",
    ],
)
def test_a_login_leads_to_no_other_site(wanted: str) -> None:
    assert next_page(wanted) == "overview"


def test_the_cookie_is_for_the_page_alone(page: PageClient) -> None:
    plain = page.log_in().headers.getlist("Set-Cookie")[0]
    assert plain.endswith("; HttpOnly; SameSite=Strict")
    assert "Path" not in plain
    assert "Domain" not in plain
    assert ADMIN_KEY not in plain
    page.forget()
    safe = page.log_in(X_Forwarded_Proto="https").headers.getlist("Set-Cookie")[0]
    assert "; Secure" in safe


def test_blocked_cookies_are_named(page: PageClient) -> None:
    answer = page.app.test_client(use_cookies=False).post("/ui/login", data={"key": ADMIN_KEY, "token": "x"})
    assert answer.status_code == 400
    assert "Cookies are blocked" in answer.text


def test_wrong_keys_lock_the_address_as_those_of_calls_do(tmp_path: Path, store: MemoryStore) -> None:
    page = PageClient(tmp_path, store, failed_keys_per_minute=3)
    page.forget()
    here = {"X_Forwarded_For": "203.0.113.9"}
    answers = [page.log_in("a-wrong-key-of-the-page", **here) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    wrong = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.9"}
    assert page.http.get("/v1/models", headers=wrong).status_code == 429
    assert page.log_in(**here).status_code == 303  # the right key is accepted at once


def test_a_logout_holds_on_every_worker(page: PageClient, store: MemoryStore, tmp_path: Path) -> None:
    cookie = page.cookie()
    assert page.send("logout").headers["Location"] == "login"
    other = PageClient(tmp_path / "data", store)
    for client in (page.http, other.http):
        client.set_cookie(COOKIE, cookie, path="/ui")
        assert client.get("/ui/overview").status_code == 303


def test_another_key_ends_all_sessions(page: PageClient, store: MemoryStore) -> None:
    cookie = page.cookie()
    settings = page.app.extensions["gateway"].settings
    (first, *others) = settings.admins
    admins = (structs.replace(first, digest=b"y" * 32, secret=b"z"), *others)
    changed = create_app(make_settings(ledger=settings.ledger, admins=admins), store).test_client()
    changed.set_cookie(COOKIE, cookie, path="/ui")
    assert changed.get("/ui/overview").status_code == 303


def test_the_page_answers_while_the_store_is_broken(
    page: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **named: Any) -> None:
        raise StoreFull("the store is full")

    store = page.app.extensions["gateway"].store
    token = page.form_token()
    monkeypatch.setattr(store, "update", broken)
    page.get("overview")
    assert page.http.post("/ui/logout", data={"csrf": token}).status_code == 303


def test_a_degraded_store_is_told_on_every_page(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    store = page.app.extensions["gateway"].store
    status = store.status()._replace(degraded=True, reason="connection refused <b>")
    monkeypatch.setattr(store, "status", lambda: status)
    for path in ("overview", "requests"):
        assert "Reason: connection refused <b>" in words(page.get(path))


def test_every_answer_has_the_safe_headers(page: PageClient) -> None:
    for path in paths(page, "GET"):
        answer = page.http.get(path.replace("<name>", "page.css"))
        if answer.status_code == 200:
            assert {name: answer.headers[name] for name in SAFE} == SAFE, path
            assert "x-request-id" in answer.headers
    assert page.http.get("/ui/request?id=none").headers["Cache-Control"] == "no-store"
    url = rendering.asset_url("page.css")
    assert "immutable" in page.http.get(f"/ui/{url}").headers["Cache-Control"]


def test_no_template_has_an_absolute_address_or_anything_inline() -> None:
    folder = Path(rendering.__file__).parent / "templates"
    templates = {path.name: path.read_text() for path in folder.iterdir()}
    assert len(templates) > 5
    for name, text in templates.items():
        assert not re.search(r'(href|action|src)="/', text), name
        assert not re.search(r"\sstyle=|<script>|\son[a-z]+=|\|\s*(safe|tojson)|autoescape", text), name


def test_looking_is_not_logged_and_logging_in_is(
    page: PageClient, capsys: pytest.CaptureFixture[str]
) -> None:
    page.get("overview")
    page.get("requests")
    assert capsys.readouterr().err == ""
    page.forget()
    page.log_in("wrong-key-of-a-stranger")
    page.log_in()
    printed = capsys.readouterr().err
    assert printed.count('"path":"/ui/login"') == 2
    assert "wrong-key-of-a-stranger" not in printed
    notes = [note.text for note in page.rings.notes()]
    assert "admin: logged in" in notes[0]
    assert "a wrong key at the login" in notes[1]


@pytest.mark.parametrize("body", [b"", b"%ff%fe=\xff", b"a=1&" * 100, b"x" * 20_000, b"\x00"])
def test_a_broken_form_is_refused(page: PageClient, body: bytes) -> None:
    answer = page.http.post("/ui/logout", data=body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 403
    assert page.http.post("/ui/logout", json={"csrf": page.form_token()}).status_code == 403
