"""Sends a call to an upstream of another API: translates the request, and rewrites the answer.

It wraps the service of any upstream. Below it a call is one of the upstream's own API, so completeness,
failover, usage and timeouts are decided as for every other call.
"""

from __future__ import annotations

import re

import msgspec

from ..dialects.body_transcript import BodyTranscript
from ..dialects.buffered_transcript import BufferedTranscript
from ..dialects.rewritten import RewrittenBody, RewrittenStream
from ..dialects.table import dialect_of
from ..dialects.translations.translation import Translated, Translation
from ..model.call import ANTHROPIC, BodyOverrides, Call
from ..model.errors import UpstreamError
from ..model.protocols import Service
from ..model.quirks import TranslationTarget
from ..model.reply import Reply

#: The longest value of ``x-gateway-left-out``, characters.
MAX_LEFT_OUT = 512
_unprintable = re.compile(r"[^\x20-\x7e]").sub


class TranslatingUpstream:
    """An upstream behind a translation (``model.protocols.Service``).

    :param service: the upstream. :param overrides: fields that the settings write, in the upstream's words.
    """

    def __init__(
        self,
        service: Service,
        translation: Translation,
        target: TranslationTarget,
        overrides: BodyOverrides | None,
    ) -> None:
        self.name = service.name
        self._service = service
        self._translation = translation
        self._target = target
        self._overrides = overrides

    def send(self, call: Call) -> Reply:
        """:raises UnsupportedField: the upstream's API has no place for a field of the call."""
        translated = self._translation.request(call, self._target)
        try:
            reply = self._service.send(self._spoken(call, translated))
        except UpstreamError as error:
            raise self._translation.refusal(error) from None
        try:
            self._rewrite(reply, call, translated)
        except BaseException as error:
            reply.fail(error)
            raise
        reply.headers.update(self._headers(call, translated))
        return reply

    def _spoken(self, call: Call, translated: Translated) -> Call:
        fields = dict(translated.fields)
        if self._overrides is not None:
            fields = self._overrides.applied_to(fields)
        return msgspec.structs.replace(
            call,
            operation=self._translation.spoken,
            fields={**translated.fillers, **fields},
            whole=False,
            headers={},
            query="",
        )

    def _rewrite(self, reply: Reply, call: Call, translated: Translated) -> None:
        """Put the rewriting transcript around that of the reply."""
        inner, refusal = reply.transcript, self._translation.refusal
        if isinstance(inner, BodyTranscript):
            reply.retell(RewrittenBody(inner, translated.rewriter, refusal))
            return
        spoken, asked = dialect_of(self._translation.spoken), dialect_of(call.operation)
        events = RewrittenStream(inner, translated.rewriter, refusal, spoken, asked)  # type: ignore[arg-type]
        reply.retell(BufferedTranscript(events, self.name) if call.whole else events)

    def _headers(self, call: Call, translated: Translated) -> dict[str, str]:
        headers = {"x-gateway-translated": f"{call.operation}>{self._translation.spoken}"}
        if translated.left_out:
            # A path may have names that the caller made up.
            headers["x-gateway-left-out"] = _unprintable("?", ", ".join(translated.left_out)[:MAX_LEFT_OUT])
        if call.operation in ANTHROPIC:
            headers["request-id"] = call.ids.request
        return headers
