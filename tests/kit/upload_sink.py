"""Receives uploads for tests in a bounded memory: it hashes each file, and answers with its digest."""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
from typing import Any

STEP = 64 * 1024


class UploadSink(socketserver.ThreadingTCPServer):
    """An upstream that answers a form with the SHA-256 of its last part.

    :ivar digests: of the files so far.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.digests: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Connection(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        while self.rfile.readline():
            headers = {}
            while line := self.rfile.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            digest = self._digest(int(headers["content-length"]), headers["content-type"])
            self.server.digests.append(digest)
            body = json.dumps({"text": digest, "usage": {"type": "duration", "seconds": 1}}).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

    def _digest(self, length: int, content_type: str) -> str:
        boundary = content_type.partition("boundary=")[2]
        left, end = length, len(f"\r\n--{boundary}--\r\n")
        while b"filename=" not in (line := self.rfile.readline()):
            left -= len(line)
        left -= len(line)
        while line.strip():
            line = self.rfile.readline()
            left -= len(line)
        digest, size = hashlib.sha256(), left - end
        while size:
            data = self.rfile.read(min(STEP, size))
            size -= len(data)
            digest.update(data)
        self.rfile.read(end)
        return digest.hexdigest()
