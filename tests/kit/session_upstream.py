"""An upstream that speaks WebSocket: sessions of the Realtime API, and of the Responses API."""

from __future__ import annotations

import json
import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

#: The usage that is reported of each response.
USAGE = {
    "input_tokens": 100,
    "output_tokens": 20,
    "total_tokens": 120,
    "input_token_details": {"cached_tokens": 40, "text_tokens": 90, "audio_tokens": 10},
    "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
}


class SessionUpstream:
    """Serves sessions on a thread for each. Events of the caller tell it what to do.

    ``response.create`` is answered with a response; ``input_audio_buffer.commit`` with one that was not asked
    for; ``test.cut`` cuts the connection, ``test.close`` closes it, ``test.echo`` returns its event,
    ``test.hold`` begins a response that does not end, ``test.refuse`` makes the next response fail.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.heard: list[dict[str, Any]] = []
        #: How each session ended, as this end saw it: the code of the close frame; 1006 without one.
        self.ends: list[int] = []
        self.open: set[ServerConnection] = set()
        self._server: Server = serve(self._session, "127.0.0.1", 0, compression=None, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        for connection in list(self.open):
            connection.socket.close()
        self._server.shutdown()
        self._thread.join()

    def reset(self) -> None:
        self.requests.clear()
        self.heard.clear()
        self.ends.clear()

    def _session(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        request = connection.request
        self.requests.append((request.path, {name.lower(): value for name, value in request.headers.items()}))
        self.open.add(connection)
        try:
            if "/realtime" in request.path:
                say(connection, type="session.created", session={"id": "sess_1"})
            _Session(self, connection).run()
        except (ConnectionClosed, OSError):
            pass
        finally:
            self.open.discard(connection)
            self.ends.append(connection.close_code or 1006)


class _Session:
    def __init__(self, upstream: SessionUpstream, connection: ServerConnection) -> None:
        self.upstream = upstream
        self.connection = connection
        self.number = 0
        self.refuses = False

    def run(self) -> None:
        for message in self.connection:
            event = json.loads(message)
            self.upstream.heard.append(event)
            self.answer(event)

    def answer(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "response.create" if self.refuses:
                self.refuses = False
                error = {"message": "no", "event_id": event.get("event_id")}
                say(self.connection, type="error", error=error)
            case "response.create" | "input_audio_buffer.commit":
                self.respond(whole=True)
            case "test.hold":
                self.respond(whole=False)
            case "test.refuse":
                self.refuses = True
            case "test.cut":
                self.connection.socket.shutdown(2)
            case "test.close":
                self.connection.close(1000, "bye")
            case "test.echo":
                say(self.connection, **event)

    def respond(self, *, whole: bool) -> None:
        self.number += 1
        response = {"id": f"resp_{id(self)}_{self.number}", "object": "realtime.response"}
        say(self.connection, type="response.created", response=response)
        say(self.connection, type="response.output_text.delta", delta="Hello, " * 20)
        if whole:
            over = {**response, "status": "completed", "usage": USAGE}
            done = "response.done" if "/realtime" in self.path else "response.completed"
            say(self.connection, type=done, response=over)

    @property
    def path(self) -> str:
        assert self.connection.request is not None
        return self.connection.request.path


def say(connection: ServerConnection, **event: Any) -> None:
    connection.send(json.dumps(event))
