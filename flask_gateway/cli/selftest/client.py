"""Sends one request over a real socket and records the answer."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any

import msgspec


class Api(StrEnum):
    """The APIs in which a self-test may call; the value is the path below ``/v1/``."""

    CHAT = "chat/completions"
    RESPONSES = "responses"
    MESSAGES = "messages"


class StreamEnd(Enum):
    """How an answer ended at the level of HTTP."""

    WHOLE = "whole"
    #: The connection was closed before the end of the framed body.
    BROKEN = "broken"
    #: The caller's timeout expired first.
    NEVER = "never"


class ClientResponse(msgspec.Struct, frozen=True):
    """The answer to one request.

    :param api: of the request.
    :param stream: whether the caller requested a stream. :param status: 0 if the answer is not HTTP.
    """

    stream: bool
    status: int
    headers: Mapping[str, str]
    body: bytes
    end: StreamEnd
    seconds: float
    api: Api = Api.CHAT

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def ask(
    port: int, body: Mapping[str, Any], headers: Mapping[str, str], patience: float, api: Api = Api.CHAT
) -> ClientResponse:
    """Send one request to the gateway on this port.

    :param patience: the caller's timeout for the whole answer, seconds.
    """
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    status, seen, received = 0, {}, bytearray()
    try:
        connection.connect()
        sock = connection.sock
        connection.request("POST", f"/v1/{api}", json.dumps(body), dict(headers))
        response = connection.getresponse()
        status = response.status
        seen = {name.lower(): value for name, value in response.getheaders()}
        while data := response.read1(65536):
            received += data
            # Each read gets only the remaining time, so a slow drip cannot extend the timeout.
            if not response.isclosed():  # since Python 3.13 the last read closes it
                sock.settimeout(max(0.001, began + patience - time.monotonic()))
        end = StreamEnd.BROKEN if response.length else StreamEnd.WHOLE
    except TimeoutError:
        end = StreamEnd.NEVER
    except (OSError, http.client.HTTPException):
        end = StreamEnd.BROKEN
    finally:
        connection.close()
    seconds = time.monotonic() - began
    return ClientResponse(bool(body.get("stream")), status, seen, bytes(received), end, seconds, api)
