"""The entry of this pair in the table of translations: Responses calls to upstreams that take only chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....model.call import Call, Operation, Usage
from ....model.errors import GatewayError
from ....model.quirks import TranslationTarget, Unsupported
from ...openai import failed_events
from ..translation import FieldTable, Translated, Translation
from .answer import response_body
from .fields import MAPPED, REFUSED, WITHOUT_EFFECT
from .raw import Raw, written
from .refusals import Refusals
from .request import chat_request
from .response import ResponseShell
from .stream import ResponseStream


class ResponseRewriter:
    """Rewrites one chat answer as a response (``translation.AnswerRewriter``)."""

    def __init__(self, shell: ResponseShell) -> None:
        self._shell = shell
        self._stream = ResponseStream(shell)
        self.event = self._stream.event
        self.end = self._stream.end

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        return response_body(data, self._shell, usage)

    def cut(self, error: GatewayError) -> bytes:
        return failed_events(error, self._stream.names, self._stream.numbers.next)


def _request(call: Call, target: TranslationTarget) -> Translated:
    refusals = Refusals(target.upstream, drop=target.quirks.unsupported is Unsupported.DROP)
    asked = chat_request(call.fields, target.quirks, refusals)
    ids = call.ids
    created = call.started_ns // 1_000_000_000
    shell = ResponseShell(f"{ids.trace}{ids.span}", created, call.asked_model, call.fields, asked.tools)
    return Translated(_written(asked.fields), ResponseRewriter(shell), left_out=tuple(asked.left_out))


def _written(fields: Mapping[str, Any]) -> dict[str, Raw]:
    return {name: value if isinstance(value, Raw) else written(value) for name, value in fields.items()}


RESPONSES_TO_CHAT = Translation(
    Operation.RESPONSE,
    Operation.CHAT,
    _request,
    FieldTable(MAPPED, WITHOUT_EFFECT, REFUSED),
)
