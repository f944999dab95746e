"""Logs in to the operator's page of an application in the test's process, and makes records for it."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from msgspec import structs
from werkzeug.test import TestResponse

from flask_gateway.config.admins import session_secret
from flask_gateway.model.call import Attempt, Ids, Usage
from flask_gateway.state.store import Store
from flask_gateway.telemetry.request_record import RequestRecord
from flask_gateway.web.page.access import COOKIE
from kit.admins import ADMIN_KEY, ADMINS, VIEWER, AdminClient

#: Texts of strangers that break pages which do not escape them.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "a\nb\r\ndata: c",
    "\u202egnp.exe",
    "x" * 300,
    "{{ 7 * 7 }}",
    "'-alert(1)-'",
)

VIEWERS_KEY = VIEWER["Authorization"].removeprefix("Bearer ")
#: The admins with what signs their sessions, as it is read from the environment or a file.
PAGE_ADMINS = tuple(
    structs.replace(one, secret=session_secret(key))
    for one, key in zip(ADMINS, (ADMIN_KEY, VIEWERS_KEY), strict=True)
)


def a_record(number: object = 1, **changes: Any) -> RequestRecord:
    """A finished call: answered by `llama`, unless it is changed."""
    now = time.time_ns()
    fields: dict[str, Any] = {
        "ids": Ids(request=f"request-{number}", trace=f"trace-{number}", traceparent=""),
        "key": "web",
        "method": "POST",
        "path": "/v1/chat/completions",
        "route": "/v1/chat/completions",
        "status": 200,
        "seconds": 1.5,
        "model": "fast",
        "upstream": "llama",
        "upstream_model": "llama-3.1-8b",
        "outcome": "success",
        "first_byte": 0.4,
        "usage": Usage(prompt_tokens=100, completion_tokens=20),
        "attempts": (Attempt("llama", "200", 0.3, "llama-3.1-8b", now + 100_000_000),),
        "started_ns": now,
    }
    return RequestRecord(**{**fields, **changes})


def chat_body(model: str, **fields: Any) -> dict[str, Any]:
    """The body of a short call."""
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}


class PageClient(AdminClient):
    """A gateway with the page, and a browser that has logged in to it."""

    def __init__(self, data: Path, store: Store, **changes: Any) -> None:
        super().__init__(data, store, **{"admins": PAGE_ADMINS, **changes})
        assert self.log_in().status_code == 303

    @property
    def rings(self) -> Any:
        return self.app.extensions["gateway"].rings

    def log_in(self, key: str = ADMIN_KEY, wanted: str = "", **headers: str) -> TestResponse:
        """Send the form of the login."""
        form = self.http.get("/ui/login").text
        match = re.search(r'name="token" value="([^"]+)"', form)
        token = match[1] if match else ""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/ui/login", data={"key": key, "token": token, "next": wanted}, headers=named)

    def cookie(self) -> str:
        """The value of the session's cookie."""
        cookie = self.http.get_cookie(COOKIE, path="/ui")
        assert cookie
        return cookie.value

    def forget(self) -> None:
        """Forget the session, as another browser would not have it."""
        self.http.delete_cookie(COOKIE, path="/ui")

    def get(self, path: str) -> str:
        """The HTML of a page."""
        answer = self.http.get(f"/ui/{path}")
        assert answer.status_code == 200, (path, answer.status, answer.text[:500])
        return answer.text

    def form_token(self) -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.get("overview"))
        assert match
        return match[1]

    def send(self, path: str, **fields: str) -> TestResponse:
        """Send a form of this session."""
        return self.http.post(f"/ui/{path}", data={"csrf": self.form_token(), **fields})


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.words.append(" " if tag in ("td", "th", "li", "span", "p", "dd", "dt") else "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """The elements of a page with their attributes."""
    parser = _Elements()
    parser.feed(html)
    return parser.elements


def words(html: str) -> str:
    """The text of a page, with single blanks."""
    parser = _Elements()
    parser.feed(html)
    return " ".join("".join(parser.words).split())
