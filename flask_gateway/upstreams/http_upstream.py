"""Sends calls to an upstream over HTTP. Its kind says where an operation is, and which header has the key."""

from __future__ import annotations

from contextlib import suppress
from ssl import SSLContext

from .. import __version__
from ..config.kinds import DEFAULT, KINDS, Kind
from ..config.schema import Timeouts
from ..dialects.error_mapping import MAX_ERROR_BODY, error_for
from ..dialects.redaction import Redaction
from ..dialects.transcripts import transcript_for
from ..dialects.usage import asking_for_usage
from ..model.call import ANTHROPIC, Call, Operation
from ..model.errors import UpstreamError, UpstreamMalformed
from ..model.reply import Reply
from .anthropic_headers import anthropic_error, passed_on, with_anthropic_headers
from .stream_options import StreamOptions
from .transport.client import ResponseSource, UpstreamClient
from .transport.deadlines import UpstreamAttempt
from .transport.proxies import Egress
from .transport.unpacking import unpacked

#: Good statuses without a body.
_NO_BODY = (204, 205)


class HttpUpstream:
    """One upstream (``model.protocols.Service``).

    :param url: the base to which the operation's path is appended.
    :param api_key: sent in the header of its kind; ``None`` sends no credential.
    :param options: whether it takes ``stream_options``, which ask for usage; ``None``: they are not sent.
    """

    #: The TLS context that verifies its certificate, or the way through a proxy; ``None``: as ``http`` has.
    egress: SSLContext | Egress | None = None

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
        self._urls = {operation: kind.url_of(url, operation) for operation in Operation}
        self._kind = kind
        self._http = http
        self._clocks = clocks
        self._options = options
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"flask-gateway/{__version__}",
            **kind.headers_of(api_key),
        }
        self._redaction = Redaction.of(api_key)

    def send(self, call: Call) -> Reply:
        options = self._options
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
            if options.are_named(error):
                options.refuse()
        reply = self._send(call, call)
        options.refuse()
        return reply

    def _send(self, asking: Call, call: Call) -> Reply:
        """:param asking: the call as it is sent, perhaps with ``stream_options`` added."""
        transcript = transcript_for(
            call,
            self.name,
            hides_usage=asking is not call,
            completed=lambda more: exchange.completed(more),
            redaction=self._redaction,
        )
        url, body, head = self._urls[call.operation], asking.payload(), self._head(call)
        if call.operation in ANTHROPIC:
            url, head = f"{url}?{call.query}" if call.query else url, with_anthropic_headers(head, call)
        exchange = UpstreamAttempt(call, self.name, self._clocks, lambda: transcript.begun)
        source = self._http.post(url, body, head, exchange, egress=self.egress)
        try:
            if "content-encoding" in source.response.headers:
                source = self._unpacked(source)
            self._check(source, call, url)
        except BaseException:
            source.close()
            raise
        reply = Reply(source, transcript, self.name, call.model, call.epoch_ns(exchange.started))
        if call.operation in ANTHROPIC:
            reply.headers.update(passed_on(source.response.headers))
        return reply

    def _head(self, call: Call) -> dict[str, str]:
        """Build the request's headers from the call's ids."""
        ids = call.ids
        head = {
            **self._headers,
            "Accept": "text/event-stream" if call.stream else "application/json",
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

    def _check(self, source: ResponseSource, call: Call, url: str) -> None:
        """Raise the error of a bad status. The content type is not checked: servers mislabel good answers."""
        response = source.response
        status = response.status_code
        if not 200 <= status < 300 or status in _NO_BODY:
            body = self._error_body(source)
            if self._redaction is not None:
                body = self._redaction.redact(body)
            error = error_for(status, response.headers, body, self.name, url=url)
            if call.operation in ANTHROPIC:
                error = anthropic_error(error, response.headers, body, self._kind)
            raise error

    @staticmethod
    def _error_body(source: ResponseSource) -> bytes:
        """Read as much of an error's body as arrives. A lost rest does not matter."""
        body = b""
        with suppress(UpstreamError):
            while len(body) < MAX_ERROR_BODY and (data := source.read()):
                body += data
        return body[:MAX_ERROR_BODY]
