"""The page Try: an admin's own call is a call like any other, under a name of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.pages import VIEWERS_KEY, PageClient, words
from werkzeug.test import TestResponse

from flask_gateway.config.schema import KeySettings
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.page import try_page
from flask_gateway.web.page.access import SAFE


def send(page: PageClient, query: str = "", **changes: Any) -> TestResponse:
    body = {"model": "mock", "messages": [{"role": "user", "content": "hello"}], **changes}
    return page.http.post(f"/ui/call{query}", json=body, headers={"X-CSRF-Token": page.form_token()})


def test_a_call_is_answered_recorded_and_limited_like_any_other(page: PageClient) -> None:
    answer = send(page)
    assert answer.status_code == 200
    assert "hello" in answer.json["choices"][0]["message"]["content"]
    assert answer.headers["x-ratelimit-limit-requests"] == str(try_page.PER_MINUTE)
    assert {name: answer.headers[name] for name in SAFE if name != "Cache-Control"} == {
        name: value for name, value in SAFE.items() if name != "Cache-Control"
    }
    (entry,) = [one for one in page.rings.entries() if one.key == "page:admin"]
    assert (entry.path, entry.request_id) == ("/v1/chat/completions", answer.headers["x-request-id"])
    assert "page:admin" in words(page.get("requests"))


def test_a_stream_comes_as_events(page: PageClient) -> None:
    answer = send(page, stream=True)
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.text.endswith("data: [DONE]\n\n")


def test_the_key_decides_which_models_may_be_called(tmp_path: Path, store: MemoryStore) -> None:
    keys = (KeySettings(id="web", digest=b"x" * 32, models=frozenset({"other"})),)
    page = PageClient(tmp_path, store, keys=keys)
    refused = send(page, "?key=web")
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "model_not_allowed")
    assert refused.headers["Content-Security-Policy"] == SAFE["Content-Security-Policy"]
    unknown = send(page, "?key=nobody")
    assert (unknown.status_code, unknown.json["error"]["param"]) == (400, "key")


def test_one_admin_calls_so_often_a_minute(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_page, "PER_MINUTE", 2)
    assert [send(page).status_code for _ in range(3)] == [200, 200, 429]


def test_a_call_needs_the_token_of_the_session(page: PageClient) -> None:
    for headers in (
        {},
        {"X-CSRF-Token": "x"},
        {"X-CSRF-Token": page.form_token(), "Sec-Fetch-Site": "cross-site"},
    ):
        assert page.http.post("/ui/call", json={}, headers=headers).status_code == 403
    page.forget()
    page.log_in(VIEWERS_KEY)
    assert send(page).status_code == 403
    assert "A viewer sends no calls" in words(page.get("try"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "mock"}'])
def test_a_broken_body_is_refused_as_that_of_a_caller_is(page: PageClient, body: bytes) -> None:
    headers = {"X-CSRF-Token": page.form_token(), "Content-Type": "application/json"}
    answer = page.http.post("/ui/call", data=body, headers=headers)
    assert (answer.status_code, answer.json["error"]["type"]) == (400, "invalid_request_error")
