"""Reads an answer of the Gemini API in one piece: an object, or the list of a stream without events."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call, Operation, Usage
from .body_transcript import BodyTranscript
from .error_mapping import page_error, reported_error
from .gemini import GeminiReader, add_usage
from .redaction import Redaction
from .usage import estimate
from .values import error_in

#: The field that an answer with embeddings must have.
_EMBEDDED = {Operation.EMBED_CONTENT: "embedding", Operation.EMBED_CONTENTS: "embeddings"}


class GeminiBody(BodyTranscript):
    """Passes the body as it is, when it has been checked."""

    def __init__(self, call: Call, upstream: str, redaction: Redaction | None = None) -> None:
        super().__init__(call, upstream, redaction)
        self._reader = GeminiReader(call)

    def end(self) -> bytes:
        body = b"".join(self._parts)
        if self._redaction is not None:
            body = self._redaction.redact(body)
        try:
            body.decode()
            document: Any = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            page = page_error(200, body, self._upstream)
            raise page or self._malformed("a body that is not JSON in UTF-8") from None
        self._read(document)
        self.ready = True
        return body

    def _read(self, document: Any) -> None:
        if self._operation is Operation.GENERATE_COUNT:
            if not (isinstance(document, dict) and type(document.get("totalTokens")) is int):
                raise self._refusal(document, "no 'totalTokens'")
            return
        if name := _EMBEDDED.get(self._operation):
            if not (isinstance(document, dict) and name in document):
                raise self._refusal(document, f"no '{name}'")
            add_usage(self._reader.reported, document.get("usageMetadata"))
            self.usage = self._counted()
            return
        answers = document if isinstance(document, list) else [document]
        if not (answers and all(isinstance(answer, dict) for answer in answers)):
            raise self._refusal(document, "no 'candidates'")
        for answer in answers:
            self._reader.read_object(answer)
            if self._reader.error is not None:
                raise reported_error(self._reader.error, self._upstream)
        if not any("candidates" in answer or "promptFeedback" in answer for answer in answers):
            raise self._malformed("no 'candidates'")
        self.usage = self._counted()

    def _refusal(self, document: Any, missing: str) -> Exception:
        error = error_in(document)
        return self._malformed(missing) if error is None else reported_error(error, self._upstream)

    def _counted(self) -> Usage:
        reader, fields = self._reader, self._call.fields
        if not reader.reported:
            return estimate(fields, reader.tally)
        guess = estimate(fields, reader.tally)
        return reader.reported.usage(lambda: guess.prompt_tokens, lambda: guess.completion_tokens)
