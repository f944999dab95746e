"""TLS before the scripted upstream: a relay in this process, and the certificate it shows."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from flask_gateway.upstreams.transport.egress import carry
from kit.needs import need


def make_certificate(folder: Path) -> Path:
    """A file with a key and a self-signed certificate for 127.0.0.1."""
    need("openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both


class _Relay(socketserver.BaseRequestHandler):
    """Relays one connection to the upstream and back. The first end closes both sides."""

    server: TLSRelay

    def handle(self) -> None:
        with (
            suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", self.server.upstream)) as inner,
        ):
            carry(outer, inner)


class TLSRelay(socketserver.ThreadingTCPServer):
    """Listens on ``port`` until closed.

    :param clients: a certificate that every client has to show.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificate: Path, upstream: int, clients: Path | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if clients is not None:
            self.context.load_verify_locations(clients)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.upstream = upstream
        super().__init__(("127.0.0.1", 0), _Relay)
        self.port = int(self.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
