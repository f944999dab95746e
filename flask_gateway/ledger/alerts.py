"""Posts alerts of budgets to the operator's webhook, once each.

The worker that sees a budget cross a share writes a line into its journal. The bookkeeper keeps one alert for
each subject, window and share. A thread of its process posts them, and the bookkeeper notes that.
"""

from __future__ import annotations

import hmac
import http.client
import logging
import sqlite3
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..model.money import dollars
from . import database
from .lines import Alerted
from .places import LedgerPlace

log = logging.getLogger(__name__)

#: How long the webhook may take, seconds, and the pauses before the second and the third try.
_TIMEOUT, _PAUSES = 10.0, (1.0, 5.0)
#: Older alerts are not posted, seconds: they are of a time without a webhook.
_LATEST = 3600.0
#: Alerts of one round.
_ROUND = 100
#: A subject's window and share.
_Key = tuple[str, str, int, float]


class AlertFigures(Protocol):
    """Counts posts (``telemetry/metrics.py``)."""

    def alert_posted(self, posted: bool) -> None: ...


class Webhook:
    """Posts an alert as JSON, without following redirects.

    With a secret it is signed as https://www.standardwebhooks.com describes: ``webhook-id``,
    ``webhook-timestamp``, ``webhook-signature``. ``text`` is what Slack and Mattermost show.

    :param url: may have a secret in it, so it is never logged. :param secret: empty: no signature.
    """

    def __init__(self, url: str, secret: str = "", *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = urlsplit(url)
        self._secret = secret.encode()
        self._sleep = sleep

    def post(self, alert: Alerted) -> bool:
        """Post an alert, with three tries. Return whether a status of 2xx came."""
        body, name = msgspec.json.encode(_told(alert)), _identity(alert)
        for pause in (*_PAUSES, None):
            trouble = self._try(body, name)
            if not trouble:
                return True
            if pause is not None:
                self._sleep(pause)
        log.error("the webhook for alerts does not take %s: %s", name, trouble)
        return False

    def _try(self, body: bytes, name: str) -> str:
        """Return what went wrong; nothing if it was taken."""
        url = self._url
        try:
            with closing(_connection(url)) as connection:
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                connection.request("POST", path, body, self._headers(body, name, int(time.time())))
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            return type(error).__name__
        return "" if 200 <= status < 300 else f"status {status}"

    def _headers(self, body: bytes, name: str, now: int) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "webhook-id": name, "webhook-timestamp": str(now)}
        if self._secret:
            signed = hmac.new(self._secret, b"%b.%d.%b" % (name.encode(), now, body), sha256).digest()
            headers["webhook-signature"] = f"v1,{b64encode(signed).decode()}"
        return headers


class AlertPoster:
    """Posts the alerts that the ledger has. One thread calls :meth:`work`, the bookkeeper's :meth:`note`."""

    def __init__(
        self, place: LedgerPlace, webhook: Webhook, figures: AlertFigures, clock: Callable[[], float]
    ) -> None:
        self._place = place
        self._webhook = webhook
        self._figures = figures
        self._clock = clock
        self._done: deque[_Key] = deque(maxlen=10 * _ROUND)
        self._results: deque[tuple[_Key, bool]] = deque()

    def work(self) -> None:
        """Post what is due. This takes as long as the webhook does."""
        for alert in self._due():
            key = (alert.subject, alert.window, alert.start, alert.share)
            if key not in self._done:
                posted = self._webhook.post(alert)
                self._done.append(key)
                self._results.append((key, posted))
                self._figures.alert_posted(posted)

    @property
    def has_results(self) -> bool:
        """Whether :meth:`note` has something to write down."""
        return bool(self._results)

    def note(self, connection: sqlite3.Connection) -> None:
        """Write down which alerts have been posted, so that no other process posts them again."""
        while self._results:
            key, posted = self._results[0]
            database.note_posted(connection, key, posted)
            self._results.popleft()

    def _due(self) -> list[Alerted]:
        try:
            with closing(self._place.read()) as connection:
                return database.alerts_to_post(connection, int(self._clock() - _LATEST), _ROUND)
        except sqlite3.Error:  # the bookkeeper complains
            return []


def _connection(url: SplitResult) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "https":
        trusted = ssl.create_default_context()
        return http.client.HTTPSConnection(host, url.port, timeout=_TIMEOUT, context=trusted)
    return http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT)


def _identity(alert: Alerted) -> str:
    text = f"{alert.subject}|{alert.window}|{alert.start}|{alert.share}"
    return f"alert_{sha256(text.encode()).hexdigest()[:24]}"


def _told(alert: Alerted) -> dict[str, object]:
    text = (
        f"{alert.subject} has used {alert.share * 100:g} % of its budget ({alert.window}): "
        f"{dollars(alert.used)} of {dollars(alert.amount)} USD"
    )
    begins = datetime.fromtimestamp(alert.start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if alert.start else None
    return {
        "type": "budget.alert",
        "text": text,
        "subject": alert.subject,
        "window": alert.window,
        "window_starts": begins,
        "share": alert.share,
        "used": dollars(alert.used),
        "limit": dollars(alert.amount),
        "at": int(alert.at),
    }
