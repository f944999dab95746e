"""Tests the example of a webhook: order, a full queue, a receiver that is away, and the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import webhook
from webhook import BATCH, Webhook

from flask_gateway.plugin import Record, Usage
from flask_gateway.testing import PluginConformance, call_of


def record(number: int) -> Record:
    said = {"model": "m", "usage": Usage(3, 4), "prompt": "never posted"}
    return Record(
        ids=call_of().ids, key=f"key-{number}", method="POST", path="/", status=200, seconds=0.5, **said
    )


class Receiver:
    """Takes batches; ``fail`` makes it refuse them, ``gate`` makes it wait."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.fail = False
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def __call__(self, batch: list[dict[str, Any]]) -> None:
        self.asked.set()
        self.gate.wait(20)
        if self.fail:
            raise ConnectionError("away")
        self.batches.append(batch)

    @property
    def keys(self) -> list[str]:
        return [one["key"] for batch in self.batches for one in batch]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook, "PERIOD", 0.01)
    monkeypatch.setattr(webhook, "PAUSE", 0.02)
    monkeypatch.setattr(webhook, "LAST", 20.0)
    receiver = Receiver()
    yield receiver
    receiver.gate.set()


class TestWebhook(PluginConformance):
    def make(self) -> object:
        return Webhook("http://127.0.0.1:9")


def test_records_are_posted_in_order_and_in_batches(receiver: Receiver) -> None:
    posts = Webhook("", post=receiver)
    for number in range(250):
        posts(record(number))
    posts.close()
    assert receiver.keys == [f"key-{number}" for number in range(250)]
    assert max(map(len, receiver.batches)) <= BATCH
    told = receiver.batches[0][0]
    assert (told["input_tokens"], told["output_tokens"], told["seconds"]) == (3, 4, 0.5)
    assert "never posted" not in str(told)


def test_a_full_queue_drops_the_oldest_and_counts_them(receiver: Receiver) -> None:
    receiver.gate.clear()
    posts = Webhook("", waiting=10, post=receiver)
    posts(record(0))
    assert receiver.asked.wait(20)  # the first one is being posted
    for number in range(1, 31):
        posts(record(number))
    assert posts.dropped == 20
    receiver.gate.set()
    posts.close()
    assert receiver.keys == ["key-0", *(f"key-{number}" for number in range(21, 31))]


def test_a_receiver_that_is_away_costs_records_and_nothing_else(receiver: Receiver) -> None:
    receiver.fail = True
    posts = Webhook("", post=receiver)
    posts(record(0))
    posts.close()
    assert (posts.dropped, receiver.batches) == (1, [])


def test_after_the_end_nothing_starts_again(receiver: Receiver) -> None:
    posts = Webhook("", post=receiver)
    posts.close()
    posts(record(0))
    assert not receiver.asked.is_set()
