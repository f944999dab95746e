"""Posts a line about each finished request to a URL, for attribution or billing elsewhere.

    [plugins.billing]
    use = "webhook:Webhook"
    options = { url = "https://billing.example/requests", token_env = "BILLING_TOKEN" }

No request waits for it. If the receiver is slow or away, the oldest records of a full queue are dropped and
counted: use the ledger where no record may be lost (docs/money.md).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import requests

from flask_gateway.plugin import Record

log = logging.getLogger("webhook")

#: The most records of one request, and how long that may take, seconds.
BATCH, TIMEOUT = 100, 5.0
#: Between two looks at the queue, seconds; after a failure; and for the last records when the process ends.
PERIOD, PAUSE, LAST = 1.0, 10.0, 2.0

Post = Callable[[list[dict[str, Any]]], None]


class Webhook:
    """An observer with a queue of limited length, and one thread that empties it.

    :param url: gets a JSON list. :param token: sent as a bearer token; empty: none.
    :param waiting: the most records that wait. :param post: replaces the HTTP request in tests.
    """

    api = 1

    def __init__(self, url: str, token: str = "", waiting: int = 2000, post: Post | None = None) -> None:
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"} if token else {}
        self._queue: deque[dict[str, Any]] = deque()
        self._most = waiting
        self._post = post or self._send
        self._wake, self._closing = threading.Event(), False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        #: The records that could not be kept or posted.
        self.dropped = 0

    def __call__(self, record: Record) -> None:
        """Keep what is posted of a record. It takes microseconds."""
        told = told_of(record)
        with self._lock:
            if len(self._queue) >= self._most:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(told)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Post what waits for at most two seconds, then give up."""
        with self._lock:
            self._closing, thread = True, self._thread
        self._wake.set()
        if thread is not None:
            thread.join(LAST)

    def _run(self) -> None:
        pause = PERIOD
        while not (self._closing and not self._queue):
            self._wake.wait(pause)
            pause = PERIOD
            while self._queue and pause == PERIOD:
                pause = self._turn()
            if self._closing and pause == PAUSE:
                return

    def _turn(self) -> float:
        """Post the oldest records. Return the pause until the next turn, seconds."""
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            self._post(batch)
        except Exception as error:  # noqa: BLE001  # the thread goes on, whatever the receiver does
            with self._lock:
                self.dropped += len(batch)
            log.warning("%d records are lost: %s (%d so far)", len(batch), type(error).__name__, self.dropped)
            return PAUSE
        return PERIOD

    def _send(self, batch: list[dict[str, Any]]) -> None:
        answer = requests.post(
            self._url, json=batch, headers=self._headers, timeout=TIMEOUT, allow_redirects=False
        )
        answer.raise_for_status()


def told_of(record: Record) -> dict[str, Any]:
    """The fields that are posted: nothing of what anybody said."""
    usage = record.usage
    return {
        "id": record.ids.request,
        "key": record.key,
        "team": record.team or None,
        "model": record.model,
        "upstream": record.upstream,
        "status": record.status,
        "code": record.code,
        "seconds": round(record.seconds, 3),
        "input_tokens": usage.prompt_tokens if usage else None,
        "output_tokens": usage.completion_tokens if usage else None,
    }
