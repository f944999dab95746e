"""Sends requests at fixed times, independent of earlier answers, and records the result of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from typing import NamedTuple, Self

from kit.servers import Gateway
from kit.wire import ask, open_stream


class Seen(NamedTuple):
    """The result of a request. Times are in seconds of the monotonic clock.

    :param due: its planned time. :param answered: from then until the response head arrived.
    :param ended: the time of its end. :param whole: whether the answer was complete.
    :param status: 0 without a response.
    """

    kind: str
    due: float
    status: int
    answered: float
    ended: float
    whole: bool


def call(gateway: Gateway, kind: str, model: str, due: float) -> Seen:
    """A chat completion, streamed if the kind is ``stream``."""
    status, answered, whole = 0, 0.0, False
    try:
        if kind == "stream":
            with open_stream(gateway.port, gateway.key, model) as stream:
                status, answered = stream.status, time.monotonic() - due
                whole = stream.read().endswith(b"data: [DONE]\n\n")
        else:
            status = gateway.chat(model).status
            answered, whole = time.monotonic() - due, status == 200
    except (OSError, HTTPException):
        pass
    return Seen(kind, due, status, answered, time.monotonic(), whole)


def arrivals(
    send: Callable[[str, str, float], Seen], models: Sequence[tuple[str, str]], rate: float, seconds: float
) -> list[Seen]:
    """Send ``rate`` requests a second, cycling through kinds and models. Returns when all have ended."""
    sent: list[Future[Seen]] = []
    with ThreadPoolExecutor(1000) as pool:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(pool.submit(send, *models[number % len(models)], due))
    return [one.result() for one in sent]


def in_turns(
    send: Callable[[str, str, float], Seen], callers: Iterable[tuple[str, str]], seconds: float
) -> list[Seen]:
    """Callers who each send the next request after an answer."""
    until = time.monotonic() + seconds

    def ask_again_and_again(kind: str, model: str) -> list[Seen]:
        seen = []
        while (due := time.monotonic()) < until:
            seen.append(send(kind, model, due))
            time.sleep(0 if seen[-1].whole else 0.05)
        return seen

    callers = list(callers)
    with ThreadPoolExecutor(len(callers)) as pool:
        return [one for many in pool.map(lambda who: ask_again_and_again(*who), callers) for one in many]


class Asking:
    """Sends requests in a loop on its own thread until stopped.

    :param once: sends a request and returns its status. :param pause: seconds between requests.
    """

    def __init__(self, once: Callable[[], int], pause: float) -> None:
        self.times: list[float] = []
        self.failures: list[str] = []
        self._once = once
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            began = time.monotonic()
            try:
                status = self._once()
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
            else:
                self.times.append(time.monotonic() - began)
                self.failures += [] if status == 200 else [str(status)]

    def p99(self) -> float:
        return p99(self.times)


class Health(Asking):
    """Requests ``/health`` twenty times a second."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(lambda: ask(gateway.port, "GET", "/health").status, 0.05)


def p99(times: Iterable[float]) -> float:
    ordered = sorted(times)
    return ordered[len(ordered) * 99 // 100]
