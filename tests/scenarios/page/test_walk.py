"""Every path of a running gateway: as nobody, as a viewer, with foreign cookies and foreign tokens of forms.

The paths are those of the application itself. Each is asked twice, because two workers answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import urlencode

import pytest
from kit.admins import ADMIN, ADMIN_KEY
from kit.gateways import KEY
from kit.page_session import PageSession
from kit.pages import VIEWERS_KEY, PageClient
from kit.servers import Gateway
from kit.wire import Answer, ask

from flask_gateway.state.memory import MemoryStore

pytestmark = [pytest.mark.live, pytest.mark.browser]

SETTINGS = """
failed_keys_per_minute = 0
[ledger]
data = "{data}"
[upstreams.mock]
url = "mock://local"
[admins.eyes]
sha256 = "{viewer}"
role = "viewer"
[admins.second]
sha256 = "{second}"
"""
SECOND_KEY = "planted-second-admin-key-32-chars"
#: Paths without a session, and paths without a key on this machine.
OPEN = {"/ui/login", "/ui/static/page.css"}
PUBLIC = {"/", "/api/hello", "/health", "/health/liveliness", "/health/readiness", "/readyz", "/metrics"}
PUBLIC |= {"/openapi.json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
#: The parameters that a page needs.
QUERIES = {
    **dict.fromkeys(("/ui/upstream", "/ui/upstream.json"), "name=mock"),
    **dict.fromkeys(("/ui/request", "/ui/key", "/ui/key.json"), "id=none"),
}
#: The answers that are not 200: redirects, and pages of things that do not exist.
ANSWERS = {
    **dict.fromkeys(("/ui", "/ui/", "/ui/login"), 303),
    **dict.fromkeys(("/ui/request", "/ui/key", "/ui/key.json"), 404),
    "/ui/live": 400,  # without a topic
}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Each method and path of the application, with something in the place of each name."""
    app = PageClient(tmp_path_factory.mktemp("map"), MemoryStore()).app
    found = []
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("/ui/static/<name>", "/ui/static/page.css")
        path = re.sub(r"<[^>]+>", "mock", path)
        found += [(method, path) for method in sorted(rule.methods or ()) if method != "OPTIONS"]
    assert len(found) > 120
    return found


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of two workers with two admins and a viewer."""
    folder = tmp_path_factory.mktemp("walked")
    digests = {name: sha256(key.encode()).hexdigest() for name, key in
               (("viewer", VIEWERS_KEY), ("second", SECOND_KEY))}  # fmt: skip
    (folder / "gateway.toml").write_text(SETTINGS.format(data=folder / "data", **digests))
    env = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), "GATEWAY_ADMIN_KEY": ADMIN_KEY}
    gateway = Gateway(folder, KEY, {**env, "GATEWAY_API_KEYS": KEY})
    yield gateway
    assert_nothing_changed(gateway)
    gateway.stop()


def assert_nothing_changed(gateway: Gateway) -> None:
    """No refused form has done anything."""
    keys = ask(gateway.port, "GET", "/admin/v1/keys", headers=ADMIN).json["data"]
    audit = ask(gateway.port, "GET", "/admin/v1/audit", headers=ADMIN).json["data"]
    assert (keys, audit) == ([], [])
    view = PageSession(gateway.url).get("upstream.json?name=mock").json["data"]
    assert (view["state"], view["taken_out"]) == ("closed", 0)


def posts(routes: list[tuple[str, str]]) -> list[str]:
    """The forms of the page that need a session."""
    found = [path for method, path in routes if method == "POST" and path.startswith("/ui/")]
    return [path for path in found if path not in OPEN] * 2


def sent(gateway: Gateway, method: str, path: str, **headers: str) -> Answer:
    """An answer without a key. An underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    query = QUERIES.get(path)
    return ask(gateway.port, method, f"{path}?{query}" if query else path, None, named)


def form_token(session: PageSession) -> str:
    match = re.search(r'name="csrf" value="([^"]+)"', session.get("overview").body.decode())
    assert match
    return match[1]


def refused(answer: Answer, method: str, path: str) -> bool:
    """Whether nobody got in: a browser is sent to the login, and everything else gets 401."""
    if path.startswith("/ui") and method == "GET":
        there = re.fullmatch(r"(ui/)?login(\?next=[\w.%-]*)?", answer.headers.get("location", ""))
        return answer.status == 303 and bool(there)
    return answer.status == 401


def forged(cookies: str) -> list[str]:
    """Cookies that no worker has signed: another admin's name, another signature, none, and nonsense."""
    name, _, value = cookies.partition("=")
    payload, _, mac = value.rpartition(".")
    changed = mac[:-2] + ("AA" if not mac.endswith("AA") else "BB")
    return [
        f"{name}={payload}.{changed}",
        f"{name}={payload}.",
        f"{name}=x.{mac}",
        f"{name}=\xff",
        f"{name}=",
    ]


def test_without_a_session_every_path_is_closed(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    for method, path in routes * 2:
        if path in OPEN | PUBLIC:
            continue
        answer = sent(walked, method, path)
        assert refused(answer, method, path), (method, path, answer)
        if path.startswith("/ui"):
            assert sent(walked, method, path, Sec_Fetch_Mode="cors").status == 401, (method, path)


def test_no_forged_session_gets_in(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    real = PageSession(walked.url).cookies
    cookies = forged(real)
    for number, (method, path) in enumerate(routes * 2):
        if path.startswith("/ui") and path not in OPEN:
            answer = sent(walked, method, path, Cookie=cookies[number % len(cookies)])
            assert refused(answer, method, path), (method, path, answer)


def test_a_session_of_the_page_opens_nothing_else(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    session = PageSession(walked.url)
    others = {"Cookie": session.cookies, "X_CSRF_Token": form_token(session)}
    for method, path in routes * 2:
        if not path.startswith("/ui") and path not in PUBLIC:
            answer = sent(walked, method, path, **others)
            assert answer.status == 401, (method, path, answer)


def test_keys_do_not_open_the_page(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    for key in (KEY, ADMIN_KEY):
        for method, path in routes:
            if path.startswith("/ui") and path not in OPEN:
                answer = sent(walked, method, path, Authorization=f"Bearer {key}", X_API_Key=key)
                assert refused(answer, method, path), (method, path, answer)


@pytest.mark.parametrize("key", [VIEWERS_KEY, ADMIN_KEY])
def test_an_admin_and_a_viewer_see_every_page(
    key: str, walked: Gateway, routes: list[tuple[str, str]]
) -> None:
    cookies = PageSession(walked.url, key).cookies
    for method, path in routes * 2:
        if path.startswith("/ui") and method == "GET":
            answer = sent(walked, method, path, Cookie=cookies)
            assert answer.status == ANSWERS.get(path, 200), (path, answer)


def test_a_viewer_sends_no_form(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    session = PageSession(walked.url, VIEWERS_KEY)
    for path in posts(routes):
        if path != "/ui/logout":
            answer = post(walked, path, session.cookies, form_token(session))
            assert answer.status == 403, (path, answer)
            assert b"your role is viewer" in answer.body


def test_a_foreign_token_sends_no_form(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    """Tokens of another session of the same admin, of other admins, of the login, and none."""
    session = PageSession(walked.url)
    foreign = [form_token(PageSession(walked.url, key)) for key in (ADMIN_KEY, SECOND_KEY, VIEWERS_KEY)]
    login = re.search(r'name="token" value="([^"]+)"', sent(walked, "GET", "/ui/login").body.decode())
    assert login
    for path in posts(routes):
        for token in (*foreign, login[1], "", "x", None):
            answer = post(walked, path, session.cookies, token)
            assert answer.status == 403, (path, token, answer)
            header = sent(walked, "POST", path, Cookie=session.cookies, X_CSRF_Token=token or "x")
            assert header.status == 403, (path, token, header)


def test_another_site_sends_no_form(walked: Gateway, routes: list[tuple[str, str]]) -> None:
    session = PageSession(walked.url)
    token = form_token(session)
    for path in posts(routes):
        for site in ("cross-site", "same-site"):
            answer = post(walked, path, session.cookies, token, Sec_Fetch_Site=site)
            assert answer.status == 403, (path, site, answer)


def post(gateway: Gateway, path: str, cookies: str, token: str | None, **headers: str) -> Answer:
    """Send a form with this token. It would work if the token were right."""
    fields = {"name": "mock", "seconds": "600", "id": "none", "do": "revoke"}
    if token is not None:
        fields["csrf"] = token
    named = {"Cookie": cookies, **FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ask(gateway.port, "POST", path, urlencode(fields).encode(), named)
