"""Defines a translation: from the API that a caller speaks to the one that an upstream speaks.

A translation has no state. ``table.py`` lists all of them. ``upstreams/translating.py`` uses them, and
``rewritten.py`` passes answers through a :class:`AnswerRewriter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from ...model.call import Call, Operation, Usage
from ...model.errors import GatewayError, UpstreamError
from ...model.quirks import TranslationTarget


class AnswerRewriter(Protocol):
    """Rewrites one answer of an upstream for its caller. Sans-IO: bytes in, bytes out.

    It gets only what the transcript of the upstream's own API has let pass: good answers, whole events.
    """

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        """Return the answer in one document.

        :param data: the upstream's document. :param usage: reported or estimated.
        :raises UpstreamMalformed: the caller's API cannot say that.
        """
        ...

    def event(self, data: bytes) -> bytes:
        """Return the events that say what one event of the upstream says; nothing if there are none.

        :param data: of the event, a JSON object.
        :raises UpstreamMalformed: the caller's API cannot say that.
        """
        ...

    def end(self, usage: Usage | None) -> bytes:
        """Return the last events. It is called once, when the upstream's stream is complete.

        :raises UpstreamMalformed: what has come is no whole answer.
        """
        ...

    def cut(self, error: GatewayError) -> bytes:
        """Return the error event for a caller that has received a part of the answer."""
        ...


class Translated(NamedTuple):
    """A translated request, and what rewrites its answer.

    :param fields: of the body for the upstream, without ``model`` and ``stream_options``.
    :param rewriter: a new one for each request.
    :param fillers: fields that the upstream's API requires and the caller did not send. The ``set`` and
        ``default`` of the settings come before them.
    :param left_out: the paths of the caller's fields that were dropped.
    """

    fields: Mapping[str, msgspec.Raw]
    rewriter: AnswerRewriter
    fillers: Mapping[str, msgspec.Raw] = {}
    left_out: tuple[str, ...] = ()


class FieldTable(NamedTuple):
    """Says what becomes of each top-level field of a request. ``docs/dialects.md`` prints it.

    :param mapped: by field: what carries it, in words.
    :param without_effect: fields that change nothing here, so that leaving them out is no loss.
    :param refused: fields that the upstream's API has no place for.
    """

    mapped: Mapping[str, str]
    without_effect: tuple[str, ...]
    refused: tuple[str, ...]


def unchanged(error: UpstreamError) -> UpstreamError:
    """Return the error: its words suit the caller's API too."""
    return error


class Translation(NamedTuple):
    """How a call of one operation is sent to an upstream that takes another.

    :param request: translates a request. It raises ``UnsupportedField`` for a field that it cannot carry.
    :param fields: what becomes of each field.
    :param refusal: words an error of the upstream for the caller's API. It keeps the error's class.
    """

    asked: Operation
    spoken: Operation
    request: Callable[[Call, TranslationTarget], Translated]
    fields: FieldTable
    refusal: Callable[[UpstreamError], UpstreamError] = unchanged
