"""Sends the requests of the checks and times the answers. Uses the standard library only."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

#: The socket timeout, seconds.
PATIENCE = 15.0
#: The name of the mock that a new installation has.
MOCK = "mock"
#: The prompts for a model and for the mock, which reads its pace: half a second of events.
PROMPT, MOCK_PROMPT = "Count from one to forty, in words.", "mock://local?tokens=20&rate=40"


class ProbeResponse(msgspec.Struct, frozen=True):
    """One response. Header names are in lower case.

    :param arrivals: the arrival times of a stream's events, seconds after the request was sent.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    arrivals: tuple[float, ...] = ()


class ProbeClient:
    """Sends requests to the gateway at ``url``. Each method opens a new connection.

    :param key: sent as Bearer token; empty for none.
    """

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self._port = parts.port
        self._path = parts.path.rstrip("/")
        self.key = key

    @property
    def local(self) -> bool:
        """Whether the URL is a loopback address of this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def connect(self) -> http.client.HTTPConnection:
        if self.secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self.host, self._port, timeout=PATIENCE, context=context)
        return http.client.HTTPConnection(self.host, self._port, timeout=PATIENCE)

    def get(self, path: str, key: str | None = None) -> ProbeResponse:
        """:raises OSError: there is no answer. :raises http.client.HTTPException: it is not HTTP."""
        connection = self.connect()
        try:
            connection.request("GET", self._path + path, headers=self._headers(key))
            return _whole(connection.getresponse())
        finally:
            connection.close()

    def twice(self, path: str) -> bool:
        """Whether a second request can reuse the connection of the first."""
        connection = self.connect()
        try:
            connection.request("GET", self._path + path, headers=self._headers())
            _whole(connection.getresponse())
            if connection.sock is None:  # the answer said "Connection: close"
                return False
            connection.request("GET", self._path + path, headers=self._headers())
            return _whole(connection.getresponse()).status == 200
        finally:
            connection.close()

    def stream(self, model: str) -> ProbeResponse:
        """Request a stream of the model and record the arrival times of its events."""
        messages = [{"role": "user", "content": MOCK_PROMPT if model == MOCK else PROMPT}]
        body = json.dumps({"model": model, "stream": True, "messages": messages})
        connection = self.connect()
        try:
            began = time.monotonic()
            # The SDKs send this too. It reveals a proxy that compresses.
            headers = {**self._json(), "Accept-Encoding": "gzip, deflate"}
            connection.request("POST", self._path + "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            received, arrivals = b"", list[float]()
            while data := response.read1(65536):
                received += data
                new = received.count(b"\n\n") - len(arrivals)
                arrivals += [time.monotonic() - began] * new
            return ProbeResponse(response.status, _lower(response), received, tuple(arrivals))
        finally:
            connection.close()

    def announce(self, size: int, wait: float) -> ProbeResponse | None:
        """Announce a body of ``size`` bytes and send none of it. ``None``: the server waited for the body.

        :param wait: how long to wait for a refusal, seconds.
        """
        connection = self.connect()
        try:
            connection.putrequest("POST", self._path + "/v1/chat/completions")
            for name, value in {**self._json(), "Content-Length": str(size)}.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.sock.settimeout(wait)
            return _whole(connection.getresponse())
        except TimeoutError:
            return None
        finally:
            connection.close()

    def _headers(self, key: str | None = None) -> dict[str, str]:
        key = self.key if key is None else key
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _json(self) -> dict[str, str]:
        return {**self._headers(), "Content-Type": "application/json"}


def _whole(response: http.client.HTTPResponse) -> ProbeResponse:
    body: Any = response.read()
    return ProbeResponse(response.status, _lower(response), body)


def _lower(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}
