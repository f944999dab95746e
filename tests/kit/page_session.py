"""Logs in to the operator's page of a running gateway by HTTP, and asks for pages."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

from kit.admins import ADMIN_KEY
from kit.waiting import PATIENCE
from kit.wire import Answer

#: Pages that every gateway has, and the same for programs.
PAGES = ("overview", "upstreams", "models", "keys", "requests", "spend", "try", "settings", "health")
JSON = tuple(f"{name}.json" for name in PAGES if name not in ("spend", "try"))


def _named(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        """Leave redirects to the test."""


class PageSession:
    """A session of an admin. :param url: of the gateway."""

    def __init__(self, url: str, key: str = ADMIN_KEY) -> None:
        self._url = url
        self._jar = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._jar), _NoRedirects())
        token = re.search(r'name="token" value="([^"]+)"', self.get("login").body.decode())
        assert token
        answer = self.ask("login", {"key": key, "token": token[1], "next": "overview"})
        assert answer.status == 303, answer

    def ask(self, path: str, form: dict[str, Any] | None = None) -> Answer:
        """A page, or what sending a form answers."""
        data = None if form is None else urlencode(form).encode()
        request = Request(f"{self._url}/ui/{path}", data)
        try:
            with self._opener.open(request, timeout=PATIENCE) as response:
                return Answer(response.status, _named(response.headers.items()), response.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, _named(error.headers.items()), error.read())

    def get(self, path: str) -> Answer:
        return self.ask(path)

    def send(self, path: str, **fields: Any) -> Answer:
        """Send a form of this session."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.get("overview").body.decode())
        assert token
        return self.ask(path, {"csrf": token[1], **fields})

    @property
    def cookies(self) -> str:
        """The value of the header ``Cookie``."""
        return "; ".join(f"{one.name}={one.value}" for one in self._jar)

    def opened(self, path: str) -> socket.socket:
        """A connection on which a page has been asked for, such as a live one."""
        port = int(self._url.rpartition(":")[2])
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        head = f"Host: x\r\nCookie: {self.cookies}\r\nSec-Fetch-Mode: cors\r\n\r\n"
        sock.sendall(f"GET /ui/{path} HTTP/1.1\r\n{head}".encode())
        return sock

    def timed(self, path: str) -> tuple[Answer, float]:
        """The page, and the seconds that it took."""
        began = time.monotonic()
        answer = self.get(path)
        return answer, time.monotonic() - began

    def assets(self) -> list[str]:
        """The addresses of scripts, style and icon that the pages name."""
        html = "".join(self.get(page).body.decode() for page in PAGES)
        return sorted(set(re.findall(r'"(static/[^"]+)"', html)))
