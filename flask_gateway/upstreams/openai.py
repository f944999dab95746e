"""An upstream that speaks the OpenAI API over HTTP: vLLM, Ollama, OpenAI itself, and most others."""

from __future__ import annotations

from contextlib import suppress

from .. import __version__
from ..config import Clocks
from ..core import Call
from ..errors import UpstreamError, UpstreamMalformed
from ..reply import Reply
from .exchange import Exchange
from .http import Http, ResponseSource
from .status import MAX_ERROR_BODY, error_for, page_error
from .transcripts import transcript_for
from .usage import asking_for_usage


class OpenAIUpstream:
    """One server (``core.Service``).

    :param url: the base to which ``/chat/completions`` is appended.
    :param api_key: sent as Bearer; ``None`` sends no credential.
    :param stream_usage: whether it understands ``stream_options``, so that usage can be asked for.
    """

    def __init__(
        self,
        name: str,
        url: str,
        api_key: str | None,
        http: Http,
        clocks: Clocks,
        *,
        stream_usage: bool = True,
    ) -> None:
        self.name = name
        self._url = url
        self._http = http
        self._clocks = clocks
        self._stream_usage = stream_usage
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"flask-gateway/{__version__}",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def send(self, call: Call) -> Reply:
        asking = asking_for_usage(call) if self._stream_usage else call
        transcript = transcript_for(call, self.name, hides_usage=asking is not call)
        url, body, head = f"{self._url}/{call.operation}", asking.payload(), self._head(call)
        exchange = Exchange(call, self.name, self._clocks, lambda: transcript.begun)
        source = self._http.post(url, body, head, exchange)
        try:
            self._check(source, call)
        except BaseException:
            source.close()
            raise
        return Reply(source, transcript, self.name)

    def _head(self, call: Call) -> dict[str, str]:
        """The request's headers: built from what we know, so that nothing of the caller's slips by."""
        ids = call.ids
        head = {
            **self._headers,
            "Accept": "text/event-stream" if call.stream else "application/json",
            "x-request-id": ids.request,
            "x-trace-id": ids.trace,
            "traceparent": ids.traceparent,
        }
        if ids.tracestate:
            head["tracestate"] = ids.tracestate
        return head

    def _check(self, source: ResponseSource, call: Call) -> None:
        response = source.response
        if response.status_code != 200:
            body = self._error_body(source)
            raise error_for(response.status_code, response.headers, body, self.name, url=self._url)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise self._malformed("an encoded body although none was asked for")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/html" and (page := page_error(200, self._error_body(source), self.name)):
            raise page
        if call.stream and kind != "text/event-stream":
            raise self._malformed("no event stream although one was asked for")
        if not call.stream and kind == "text/event-stream":
            raise self._malformed("an event stream although none was asked for")

    @staticmethod
    def _error_body(source: ResponseSource) -> bytes:
        """As much of an error's body as arrives; what is missing of it does not matter."""
        body = b""
        with suppress(UpstreamError):
            while len(body) < MAX_ERROR_BODY and (data := source.read()):
                body += data
        return body[:MAX_ERROR_BODY]

    def _malformed(self, what: str) -> UpstreamMalformed:
        return UpstreamMalformed(f"Upstream '{self.name}' answered with {what}.", upstream=self.name)
