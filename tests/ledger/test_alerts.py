"""Alerts of budgets: kept once, posted once, signed, and tried three times."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from kit.ledger_figures import NotedFigures
from kit.ledger_lines import CALENDAR, NOW

from flask_gateway.ledger.alerts import AlertPoster, Webhook
from flask_gateway.ledger.books import Books
from flask_gateway.ledger.lines import Alerted
from flask_gateway.ledger.places import LocalLedger

ALERT = Alerted(at=NOW, subject="key:web", window="day", start=NOW, share=0.8, used=8 * 10**8, amount=10**9)


class Receiver(HTTPServer):
    """Answers with the statuses in turn, then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?token=planted"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Figures(NotedFigures):
    def __init__(self) -> None:
        super().__init__()
        self.posts: list[bool] = []

    def alert_posted(self, posted: bool) -> None:
        self.posts.append(posted)


def webhook(receiver: Receiver, secret: str = "") -> Webhook:
    return Webhook(receiver.url, secret, sleep=lambda seconds: None)


def books(data: Path, receiver: Receiver, figures: Figures, now: float = NOW) -> Books:
    poster = AlertPoster(LocalLedger(data), webhook(receiver), figures, lambda: now)
    return Books(data, CALENDAR, figures, lambda: NOW, alerts=poster)


def test_an_alert_that_several_workers_note_is_posted_once(tmp_path: Path, receiver: Receiver) -> None:
    figures = Figures()
    first = books(tmp_path, receiver, figures)
    for _ in range(3):
        first.journal.write(ALERT)
    first.turn()
    first.post_alerts()
    first.post_alerts()
    first.turn()
    first.close()
    second = books(tmp_path, receiver, figures)  # another process takes over
    second._next_try = 0.0
    second.journal.write(ALERT)
    second.turn()
    second.post_alerts()
    second.close()
    assert figures.posts == [True]
    ((headers, body),) = receiver.got
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"].startswith("alert_")
    assert "webhook-signature" not in headers
    assert json.loads(body) == {
        "type": "budget.alert",
        "text": "key:web has used 80 % of its budget (day): 0.800000000 of 1.000000000 USD",
        "subject": "key:web",
        "window": "day",
        "window_starts": "2026-11-27T00:00:00Z",
        "share": 0.8,
        "used": "0.800000000",
        "limit": "1.000000000",
        "at": NOW,
    }


def test_alerts_of_a_time_without_a_webhook_are_not_posted(tmp_path: Path, receiver: Receiver) -> None:
    late = books(tmp_path, receiver, Figures(), NOW + 7200)
    late.journal.write(ALERT)
    late.turn()
    late.post_alerts()
    late.close()
    assert receiver.got == []


@pytest.mark.parametrize(("statuses", "posted"), [([500, 503], True), ([302, 404, 500], False)])
def test_an_alert_is_tried_three_times_and_no_redirect_is_followed(
    receiver: Receiver, statuses: list[int], posted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = list(statuses)
    assert webhook(receiver).post(ALERT) is posted
    assert len(receiver.got) == 3
    assert ("the webhook for alerts does not take" in caplog.text) is not posted
    assert "planted" not in caplog.text


def test_a_webhook_that_is_not_there_is_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    assert not Webhook("http://127.0.0.1:1/planted", sleep=lambda seconds: None).post(ALERT)
    assert "ConnectionRefusedError" in caplog.text
    assert "planted" not in caplog.text


def test_a_secret_signs_as_standard_webhooks_do(receiver: Receiver) -> None:
    assert webhook(receiver, "a-secret").post(ALERT)
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"a-secret", signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
