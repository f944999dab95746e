"""The services that translate calls for an upstream: none where none is needed, each behind its guards."""

from __future__ import annotations

import pytest
from kit.calls import make_call
from kit.translating import SpokenUpstream

from flask_gateway.app.translated import translated
from flask_gateway.config.schema import UpstreamSettings
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import CircuitOpen
from flask_gateway.model.protocols import Permit


class Closed:
    """A guard that admits nothing."""

    def admit(self, call: Call) -> Permit:
        raise CircuitOpen("The upstream is paused.")


def upstream(*speaks: Operation) -> UpstreamSettings:
    return UpstreamSettings(name="up", url="http://up.test", speaks=frozenset(speaks))


def test_an_upstream_that_takes_every_operation_needs_no_translation() -> None:
    assert translated(upstream(*Operation), SpokenUpstream(b""), ()) == {}


def test_an_upstream_without_a_spoken_operation_has_none() -> None:
    assert translated(upstream(Operation.EMBEDDING), SpokenUpstream(b""), ()) == {}


@pytest.mark.parametrize(
    ("speaks", "operations"),
    [
        ([Operation.CHAT], {Operation.MESSAGE, Operation.RESPONSE, Operation.COUNT}),
        ([Operation.CHAT, Operation.RESPONSE], {Operation.MESSAGE, Operation.COUNT}),
        ([Operation.MESSAGE, Operation.COUNT], {Operation.CHAT}),
        ([Operation.MESSAGE], {Operation.CHAT, Operation.COUNT}),
    ],
)
def test_the_operations_that_an_upstream_does_not_take_are_translated(
    speaks: list[Operation], operations: set[Operation]
) -> None:
    assert set(translated(upstream(*speaks), SpokenUpstream(b""), ())) == operations


def test_a_translated_call_passes_the_guards_of_its_upstream() -> None:
    service = SpokenUpstream(b"")
    made = translated(upstream(Operation.CHAT), service, (Closed(),))
    with pytest.raises(CircuitOpen):
        made[Operation.MESSAGE](None).send(make_call())
    assert service.calls == []


def test_tokens_are_counted_without_asking_anybody() -> None:
    service = SpokenUpstream(b"")
    made = translated(upstream(Operation.CHAT), service, (Closed(),))
    reply = made[Operation.COUNT](None).send(make_call())
    assert reply.headers["x-gateway-estimated"] == "true"
    reply.close()
    assert service.calls == []
