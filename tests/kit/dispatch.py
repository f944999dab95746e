"""Fakes an upstream and a clock, and builds a dispatcher over them."""

from __future__ import annotations

from collections.abc import Iterator

from flask_gateway.model.call import Call
from flask_gateway.model.reply import Reply
from flask_gateway.routing.dispatcher import Candidate, Dispatcher, Guarded
from kit.replies import PlainTranscript, ScriptedSource


class FakeUpstream:
    """A service that raises the given error, or returns a reply with the given script."""

    def __init__(self, name: str, *script: bytes | Exception) -> None:
        self.name = name
        self.script = script
        self.asked: list[str] = []

    def send(self, call: Call) -> Reply:
        self.asked.append(call.model)
        if len(self.script) == 1 and isinstance(self.script[0], Exception):
            raise self.script[0]
        return Reply(ScriptedSource(*self.script), PlainTranscript(), self.name, call.model)


class SecondsClock:
    """A clock in seconds that only ``sleep`` advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def dispatcher(*services: FakeUpstream | Guarded, clock: SecondsClock | None = None) -> Dispatcher:
    clock = clock or SecondsClock()

    def candidates(call: Call) -> Iterator[Candidate]:
        for service in services:
            yield Candidate(service, f"{call.model}@{service.name}")

    return Dispatcher(candidates, clock=clock, pause=lambda call, seconds: clock.sleep(seconds))
