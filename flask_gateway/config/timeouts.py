"""Defines the timeouts of an upstream, with the default of each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

#: The general timeouts, seconds: a stream's silence, and an answer in one piece.
SILENCE_SECONDS, ANSWER_SECONDS = 10.0, 120.0


class Timeouts(msgspec.Struct, frozen=True):
    """The timeouts of an upstream, seconds. ``docs/time.md`` explains each.

    :param connect: until the connection is open.
    :param first_byte: until the head of a stream is complete.
    :param first_token: until a stream's first content.
    :param idle: between two parts of a stream.
    :param answer: until the end of an answer in one piece. It includes the whole generation.
    :param total: until the end of any answer.
    """

    connect: float = 5.0
    first_byte: float = SILENCE_SECONDS
    first_token: float = 15.0
    idle: float = SILENCE_SECONDS
    answer: float = ANSWER_SECONDS
    total: float = 600.0

    @classmethod
    def within(cls, silence: float, answer: float = ANSWER_SECONDS) -> Timeouts:
        """Derive the timeouts of an upstream that sets none from the two general settings.

        :param silence: the longest silence of a stream. :param answer: for an answer in one piece.
        """
        usual = cls()
        return cls(
            connect=min(usual.connect, silence),
            first_byte=silence,
            first_token=max(usual.first_token, silence),
            idle=silence,
            answer=answer,
            total=max(usual.total, silence, answer),
        )

    def with_own(self, own: Mapping[str, float]) -> Timeouts:
        """Return these timeouts with some replaced.

        If ``own`` sets ``answer`` without ``total``, ``total`` is raised to at least ``answer``.

        :param own: seconds by the name of the timeout.
        """
        clocks = msgspec.structs.replace(self, **own)
        if "answer" in own and "total" not in own:
            clocks = msgspec.structs.replace(clocks, total=max(clocks.total, clocks.answer))
        return clocks
