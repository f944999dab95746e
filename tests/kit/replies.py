"""Scripts the source and the transcript of a reply."""

from __future__ import annotations

from flask_gateway.model.call import Usage
from flask_gateway.model.errors import GatewayError


class ScriptedSource:
    """Returns the scripted chunks in order. Raises the entries that are errors."""

    def __init__(self, *script: bytes | Exception) -> None:
        self.script = list(script)
        self.released = self.closed = 0

    def read(self) -> bytes:
        if not self.script:
            return b""
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def release(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed += 1


class PlainTranscript:
    """Is ready after its first bytes, and passes on everything."""

    content_type = "text/plain"
    usage = Usage(1, 2)
    complete = postpones = False
    dropped = 0
    ping = b": ping\n\n"

    def __init__(self) -> None:
        self.ready = self.finished = False

    def feed(self, data: bytes) -> bytes:
        self.ready = True
        self.finished = data.endswith(b"!")
        return data.replace(b"-", b"")

    def end(self) -> bytes:
        return b"."

    def catch_up(self) -> bytes:
        return b""

    def cut(self, error: GatewayError) -> bytes:
        return f"<{error.code}>".encode()
