"""Sends calls to an upstream over HTTP. Its kind says where an operation is, and which header has the key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ssl import SSLContext
from typing import NamedTuple

from .. import __version__
from ..config.kinds import DEFAULT, KINDS, Kind
from ..config.schema import Timeouts
from ..dialects.error_mapping import MAX_ERROR_BODY, error_for
from ..dialects.foreign_thinking import signed_only
from ..dialects.media_transcripts import BytesTranscript, is_plain_text, is_sound
from ..dialects.passed_transcript import PassedTranscript
from ..dialects.redaction import Redaction
from ..dialects.transcripts import transcript_for
from ..dialects.usage import asking_for_usage
from ..model.call import ANTHROPIC, GEMINI, MEDIA, SESSIONS, WITH_MODEL, Call, Operation
from ..model.direct import Direct
from ..model.errors import UpstreamAuthFailed, UpstreamError, UpstreamMalformed
from ..model.reply import Reply
from ..model.upload import LongBody
from .anthropic_headers import (
    anthropic_error,
    passed_on,
    vertex_body,
    with_anthropic_headers,
    with_key_as_user,
)
from .estimated_count import EstimatedCount, counts_not
from .gemini_requests import gemini_error, gemini_head, gemini_request
from .renewed_keys import RenewedKey
from .stream_options import StreamOptions, names_stream_options
from .transport.client import ResponseSource, UpstreamClient
from .transport.deadlines import UpstreamAttempt
from .transport.proxies import Egress
from .transport.unpacking import unpacked

#: The status of a connection that is a WebSocket from now on.
SWITCHED = 101
#: Good statuses without a body.
_NO_BODY = (204, 205)
_MEDIA = frozenset(MEDIA)


def _accepted(call: Call) -> str:
    """The content types that the answer may have (RFC 9110, section 12.5.1)."""
    if call.operation in _MEDIA and (is_sound(call) or is_plain_text(call)):
        return "*/*"
    return "text/event-stream" if call.stream else "application/json"


class Credential(NamedTuple):
    """A key. :param headers: carry it. :param redaction: removes it from answers."""

    key: str | None
    headers: Mapping[str, str]
    redaction: Redaction | None


class DirectReply(Reply):
    """A reply under the upstream's own good status."""

    __slots__ = ("status",)

    status: int


class HttpUpstream:
    """One upstream (``model.protocols.Service``).

    :param url: the base to which the operation's path is appended.
    :param api_key: sent in the header of its kind; ``None`` sends no credential.
    :param options: whether it takes ``stream_options``, which ask for usage; ``None``: they are not sent.
    """

    #: The TLS context that verifies its certificate, or the way through a proxy; ``None``: as ``http`` has.
    egress: SSLContext | Egress | None = None
    #: The key that a command prints, in place of ``api_key``; ``None``: there is no command.
    renewed_key: RenewedKey | None = None
    #: Whether calls of Anthropic's API bear the id of the caller's key in place of the caller's own user id.
    replaces_user_ids = False

    def __init__(  # noqa: PLR0913 - the parts of an upstream; each has another source
        self,
        name: str,
        url: str,
        api_key: str | None,
        http: UpstreamClient,
        clocks: Timeouts,
        options: StreamOptions | None = None,
        kind: Kind = KINDS[DEFAULT],
    ) -> None:
        self.name = name
        self._urls = {operation: kind.url_of(url, operation) for operation in WITH_MODEL}
        self._base, self._kind = url, kind
        self._http = http
        self._clocks = clocks
        self._options = options
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"flask-gateway/{__version__}",
        }
        self._credential = self._holding(api_key)

    def _holding(self, key: str | None) -> Credential:
        return Credential(key, {**self._headers, **self._kind.headers_of(key)}, Redaction.of(key))

    def _current(self) -> Credential:
        """The credential for a call now. :raises UpstreamKeyMissing: the command has printed no key."""
        credential = self._credential
        if self.renewed_key is not None and credential.key != (key := self.renewed_key.current(self.name)):
            credential = self._credential = self._holding(key)
        return credential

    def send(self, call: Call) -> Reply:
        options = self._options
        if call.operation is Operation.MESSAGE:
            call = with_key_as_user(call) if self.replaces_user_ids else call
            call = signed_only(call) if self._kind.checks_signatures else call
        if call.operation is Operation.COUNT:
            return self._count(call)
        if call.operation in SESSIONS:
            return self._open_session(call)
        if call.direct is not None:
            return self._send_direct(call, call.direct)
        if not call.stream or options is None:
            return self._send(call, call)
        asking = asking_for_usage(call)
        if asking is call or options.are_refused:
            return self._send(call, call)
        try:
            reply = self._send(asking, call)
            if not options.are_proven:
                reply.prime()  # the first event may be a refusal
                options.prove()
            return reply
        except UpstreamError as error:
            if not options.may_be_meant(error):
                raise
        reply = self._send(call, call)
        reply.prime()  # remember only what the repeated call proves: an error may quote the caller's text
        options.refuse()
        return reply

    def _open_session(self, call: Call) -> Reply:
        from .websocket import open_session  # an extra that is off is not imported

        credential = self._credential if self.renewed_key is None else self._current()
        head = self._head(call, credential)
        asking = open_session(call, self.name, self._urls[call.operation], head, self._clocks)
        source = self._http.post(asking.url, b"", asking.head, asking.exchange, "GET", self.egress)
        try:
            if source.response.status_code != SWITCHED:
                self._check(source, call, asking.url, credential)
            return asking.opened(source)
        except BaseException:
            source.close()
            raise

    def _count(self, call: Call) -> Reply:
        """Count tokens, by an estimate if the upstream says that it does not count them."""
        try:
            return self._send(call, call)
        except UpstreamError as error:
            if not counts_not(error):
                raise
            answered = error.answered
        return EstimatedCount(self.name, answered).send(call)

    def _send_direct(self, call: Call, direct: Direct) -> Reply:
        """Send a request as it is. Its answer passes as it is, under its own status."""
        credential = self._credential if self.renewed_key is None else self._current()
        head = {**self._head(call, credential), "Accept": "*/*", **direct.headers}
        if "content-type" in direct.headers or not len(direct.body):
            del head["Content-Type"]
        exchange = UpstreamAttempt(call, self.name, self._clocks, lambda: True)
        url = f"{self._base}/{direct.path}"
        source = self._http.post(url, direct.body, head, exchange, direct.method, self.egress)
        try:
            if "content-encoding" in source.response.headers:
                source = self._unpacked(source)
            status, headers = source.response.status_code, source.response.headers
            if not 200 <= status < 300:
                self._check(source, call, url, credential)
        except BaseException:
            source.close()
            raise
        transcript = PassedTranscript(self.name, headers.get("content-type"), credential.redaction)
        reply = DirectReply(source, transcript, self.name, call.model, call.epoch_ns(exchange.started))
        reply.status = reply.answered = status
        return reply

    def _send(self, asking: Call, call: Call) -> Reply:
        """:param asking: the call as it is sent, perhaps with ``stream_options`` added."""
        credential = self._credential if self.renewed_key is None else self._current()
        transcript = transcript_for(
            call,
            self.name,
            hides_usage=asking is not call,
            completed=lambda more: exchange.completed(more),
            redaction=credential.redaction,
        )
        url, head = self._urls[call.operation], self._head(call, credential)
        body: bytes | LongBody
        if call.operation in ANTHROPIC:
            url, body = self._anthropic_request(url, asking)
            head = with_anthropic_headers(head, call)
        elif call.operation in GEMINI:
            url, body = gemini_request(self._kind, self._base, call)
            head = gemini_head(self._kind, head, credential.key)
        elif call.upload is None:
            body = asking.payload()
        else:
            body = call.upload.body(call.model, call.fields)
            head["Content-Type"] = call.upload.content_type
        exchange = UpstreamAttempt(call, self.name, self._clocks, lambda: transcript.begun)
        source = self._http.post(url, body, head, exchange, egress=self.egress)
        try:
            if "content-encoding" in source.response.headers:
                source = self._unpacked(source)
            self._check(source, call, url, credential)
            if isinstance(transcript, BytesTranscript):
                transcript.typed(source.response.headers.get("content-type"))
        except BaseException:
            source.close()
            raise
        reply = Reply(source, transcript, self.name, call.model, call.epoch_ns(exchange.started))
        if call.operation in ANTHROPIC:
            reply.headers.update(passed_on(source.response.headers))
        return reply

    def _anthropic_request(self, url: str, call: Call) -> tuple[str, bytes]:
        """The URL and the body of a call of Anthropic's API."""
        if self._kind.model_in_path:
            url = self._kind.anthropic_url_of(self._base, call.operation, call.model, stream=call.stream)
            return url, vertex_body(call)
        return (f"{url}?{call.query}" if call.query else url), call.payload()

    def _head(self, call: Call, credential: Credential) -> dict[str, str]:
        """Build the request's headers from the call's ids."""
        ids = call.ids
        head = {
            **credential.headers,
            "Accept": _accepted(call),
            "x-request-id": ids.request,
            "x-trace-id": ids.trace,
            "traceparent": ids.traceparent_of(len(call.attempts)),
        }
        if ids.tracestate:
            head["tracestate"] = ids.tracestate
        return head

    def _unpacked(self, source: ResponseSource) -> ResponseSource:
        """Decompress the body. An error's body in an unknown coding is dropped: its status suffices."""
        codings = source.response.headers.get("content-encoding")
        try:
            return unpacked(source, codings, self.name) if codings else source
        except UpstreamMalformed:
            if 200 <= source.response.status_code < 300:
                raise
            source.close()
            return source

    def _check(self, source: ResponseSource, call: Call, url: str, credential: Credential) -> None:
        """Raise the error of a bad status. The content type is not checked: servers mislabel good answers."""
        response = source.response
        status = response.status_code
        if not 200 <= status < 300 or status in _NO_BODY:
            body = b"" if status == SWITCHED else self._error_body(source)
            if credential.redaction is not None:
                body = credential.redaction.redact(body)
            error = error_for(status, response.headers, body, self.name, url=url)
            error.names_stream_options = names_stream_options(body)
            if self.renewed_key is not None and credential.key and isinstance(error, UpstreamAuthFailed):
                self.renewed_key.refused(credential.key)
            if call.operation in ANTHROPIC:
                error = anthropic_error(error, response.headers, body, self._kind)
            elif call.operation in GEMINI:
                error = gemini_error(error, body)
            raise error

    @staticmethod
    def _error_body(source: ResponseSource) -> bytes:
        """Read as much of an error's body as arrives. A lost rest does not matter."""
        body = b""
        with suppress(UpstreamError):
            while len(body) < MAX_ERROR_BODY and (data := source.read()):
                body += data
        return body[:MAX_ERROR_BODY]
