"""The opening handshake of WebSockets (RFC 6455, 4)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

#: RFC 6455, 1.3.
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: The subprotocol of the Realtime API, which browsers ask for.
PROTOCOL = "realtime"


def accept_of(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key``."""
    return b64encode(sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()).decode()
