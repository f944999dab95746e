"""Defines the ids of one request: the gateway's, and those of the W3C trace context."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Ids(msgspec.Struct, frozen=True):
    """The ids of one request: the gateway's, and those of the W3C trace context.

    The gateway's own span and its attempts have ids in a row, so that no attempt costs another random number:
    :attr:`span`, then :meth:`attempt_span` of 0, 1, 2.

    :param traceparent: sent upstream with the first attempt.
    :param parent: the caller's span, 16 hexadecimal digits; empty if the trace begins here.
    """

    request: str
    trace: str
    traceparent: str
    tracestate: str = ""
    parent: str = ""

    @property
    def span(self) -> str:
        """The id of the gateway's own span, 16 hexadecimal digits."""
        return _span_at(self.traceparent[36:52], -1)

    def attempt_span(self, number: int) -> str:
        """The id of the span of an attempt.

        :param number: its place in the list of attempts, from 0.
        """
        return _span_at(self.traceparent[36:52], number)

    def begun_with(self, flags: Callable[[str], str]) -> Ids:
        """These ids with the flags of a trace that begins here: two hexadecimal digits, by its id."""
        parent = self.traceparent
        return msgspec.structs.replace(self, traceparent=f"{parent[:53]}{flags(parent[3:35])}")

    def traceparent_of(self, number: int) -> str:
        """The ``traceparent`` to send with the attempt of that number, from 0."""
        if number == 0:
            return self.traceparent
        return f"{self.traceparent[:36]}{self.attempt_span(number)}{self.traceparent[52:]}"


def _span_at(first: str, distance: int) -> str:
    """The id so far after the first one. No id is 0: W3C Trace Context, 3.2.2.4, calls that invalid."""
    return f"{(int(first, 16) - 1 + distance) % (2**64 - 1) + 1:016x}"
