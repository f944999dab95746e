"""A caller as the gateway meets it: one request over a real socket, and a record of what came back."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec


class StreamEnd(Enum):
    """How an answer ended, as far as HTTP can tell."""

    WHOLE = "whole"
    #: The connection was closed before what was framed had come.
    BROKEN = "broken"
    #: The caller has stopped waiting.
    NEVER = "never"


class ClientResponse(msgspec.Struct, frozen=True):
    """What came back.

    :param stream: whether a stream was asked for. :param status: 0 for nothing that is HTTP.
    """

    stream: bool
    status: int
    headers: Mapping[str, str]
    body: bytes
    end: StreamEnd
    seconds: float

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def ask(port: int, body: Mapping[str, Any], headers: Mapping[str, str], patience: float) -> ClientResponse:
    """One chat request to the gateway on this port.

    :param patience: how long the caller waits for the end of the answer, seconds.
    """
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    status, seen, received = 0, {}, bytearray()
    try:
        connection.connect()
        sock = connection.sock
        connection.request("POST", "/v1/chat/completions", json.dumps(body), dict(headers))
        response = connection.getresponse()
        status = response.status
        seen = {name.lower(): value for name, value in response.getheaders()}
        while data := response.read1(65536):
            received += data
            # Each read may take what is left, so that no answer outlives its caller by dripping.
            if not response.isclosed():  # since Python 3.13 the last read closes it
                sock.settimeout(max(0.001, began + patience - time.monotonic()))
        end = StreamEnd.BROKEN if response.length else StreamEnd.WHOLE
    except TimeoutError:
        end = StreamEnd.NEVER
    except (OSError, http.client.HTTPException):
        end = StreamEnd.BROKEN
    finally:
        connection.close()
    return ClientResponse(
        bool(body.get("stream")), status, seen, bytes(received), end, time.monotonic() - began
    )
