"""An upstream that speaks the OpenAI API over HTTP: vLLM, Ollama, OpenAI itself, and most others."""

from __future__ import annotations

from contextlib import suppress

import requests

from .. import __version__
from ..core import Call
from ..errors import GatewayError, UpstreamMalformed
from ..reply import Reply
from .http import Http, ResponseSource
from .status import MAX_ERROR_BODY, error_for
from .transcripts import transcript_for


class OpenAIUpstream:
    """One server (``core.Service``).

    :param url: the base to which ``/chat/completions`` is appended.
    :param api_key: sent as Bearer; ``None`` sends no credential.
    """

    def __init__(self, name: str, url: str, api_key: str | None, http: Http) -> None:
        self.name = name
        self._url = url
        self._http = http
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"flask-gateway/{__version__}",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def send(self, call: Call) -> Reply:
        response = self._http.post(
            f"{self._url}/{call.operation}", call.payload(), self._head(call), self.name
        )
        try:
            self._check(response, call)
        except BaseException:
            response.raw.close()
            raise
        transcript = transcript_for(call.operation, call.stream, self.name)
        return Reply(ResponseSource(response, self.name), transcript, self.name)

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

    def _check(self, response: requests.Response, call: Call) -> None:
        if response.status_code != 200:
            body = self._error_body(response)
            raise error_for(response.status_code, response.headers, body, self.name)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise self._malformed("an encoded body although none was asked for")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if call.stream and kind != "text/event-stream":
            raise self._malformed("no event stream although one was asked for")
        if not call.stream and kind == "text/event-stream":
            raise self._malformed("an event stream although none was asked for")

    def _error_body(self, response: requests.Response) -> bytes:
        """As much of an error's body as arrives; what is missing of it does not matter."""
        source = ResponseSource(response, self.name)
        body = b""
        with suppress(GatewayError):
            while len(body) < MAX_ERROR_BODY and (data := source.read()):
                body += data
        return body[:MAX_ERROR_BODY]

    def _malformed(self, what: str) -> UpstreamMalformed:
        return UpstreamMalformed(f"Upstream '{self.name}' answered with {what}.", upstream=self.name)
