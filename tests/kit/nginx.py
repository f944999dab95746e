"""Runs a real nginx with the shipped site, and a server behind it that records the forwarded requests."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kit.exchanges import open_sockets
from kit.needs import need
from kit.servers import ROOT, free_port
from kit.tls import make_certificate
from kit.waiting import PATIENCE, until
from kit.wire import Answer

SHIPPED = ROOT / "flask_gateway" / "deploy" / "nginx"

MAIN = """
daemon off; pid nginx.pid; error_log stderr; {user}
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {more}
}}
"""


class Nginx:
    """The shipped site in front of ``behind``.

    ``port`` serves it without TLS, ``tls_port`` with TLS, and ``plain_port`` stands for its port 80.

    :param behind: an address in nginx's syntax, ``127.0.0.1:8000`` or ``unix:/path``.
    :param edit: changes the site. :param edit_zones: changes the file of its zones.
    """

    def __init__(
        self,
        folder: Path,
        behind: str,
        edit: Callable[[str], str] = str,
        edit_zones: Callable[[str], str] = str,
    ) -> None:
        need("nginx")
        self.folder = folder
        self.port, self.tls_port, self.plain_port = free_port(), free_port(), free_port()
        self.url, self.tls_url = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.tls_port}"
        self.certificate = make_certificate(folder)
        self._write(behind, edit, edit_zones)
        with (folder / "errors").open("wb") as errors:
            self._process = subprocess.Popen(self._command, stderr=errors)
        if not until(lambda: self._process.poll() is not None or is_open(self.port)) or not is_open(
            self.port
        ):
            self._process.kill()
            raise AssertionError(self.errors)

    @property
    def _command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", "nginx.conf"]

    def _write(self, behind: str, edit: Callable[[str], str], edit_zones: Callable[[str], str]) -> None:
        """Write the shipped files with other addresses and paths, otherwise unchanged."""
        http = edit_zones((SHIPPED / "conf.d" / "flask-gateway.conf").read_text())
        site = edit((SHIPPED / "sites-available" / "flask-gateway").read_text())
        (self.folder / "http.conf").write_text(
            replaced(http, {"unix:/run/flask-gateway.sock": behind}),
        )
        places = {
            "listen 443 ssl default_server": f"listen 127.0.0.1:{self.port} default_server",
            "listen [::]:443 ssl default_server": f"listen 127.0.0.1:{self.tls_port} ssl default_server",
            "listen 80 default_server": f"listen 127.0.0.1:{self.plain_port} default_server",
            "listen [::]:80 default_server;": "",
            "/etc/ssl/certs/ssl-cert-snakeoil.pem": str(self.certificate),
            "/etc/ssl/private/ssl-cert-snakeoil.key": str(self.certificate),
            "/var/log/nginx/flask-gateway.log": str(self.folder / "access.log"),
        }
        (self.folder / "site.conf").write_text(replaced(site, places))
        user = "user root;" if os.geteuid() == 0 else ""  # so that nginx can read the test's folder
        more = "include http.conf; include site.conf;"
        (self.folder / "nginx.conf").write_text(MAIN.format(user=user, more=more))

    def check(self) -> str:
        """The output of ``nginx -t``. Asserts that it succeeds."""
        done = subprocess.run([*self._command, "-t"], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stderr

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "access.log").read_text()

    def connections(self) -> int:
        """The number of sockets of its worker."""
        pid = self._process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(len(open_sockets(int(worker))) for worker in workers)  # there may be none yet

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with all changes made. Asserts that each applies."""
    for old, new in changes.items():
        assert old in text, f"the shipped file has no {old!r}"
        text = text.replace(old, new)
    return text


def directive_of(site: str, name: str) -> str:
    """The only value of a directive in the site."""
    (value,) = set(re.findall(rf"^\s*{name} (.*);$", site, re.MULTILINE))
    return value


def without_rates(site: str) -> str:
    """The site without its limits on requests a second."""
    without, count = re.subn(r"limit_req zone=[^;]+;", "", site)
    assert count == 3
    return without


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Behind:
    """A server with one fixed answer and one connection at a time. It records each request.

    :param answer: the bytes to send; empty closes the connection.
    :param then: called after that, before closing.
    """

    def __init__(self) -> None:
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def reset(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        self.then: Callable[[socket.socket], None] = lambda sock: None
        self.seen: list[bytes] = []

    def reply(self, request: bytes) -> bytes:
        """Returns the answer to a request. A subclass may override it."""
        return self.answer

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, suppress(OSError):
                    sock.settimeout(PATIENCE)
                    self.seen.append(read_request(sock))
                    sock.sendall(closing(self.reply(self.seen[-1])))
                    self.then(sock)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def closing(answer: bytes) -> bytes:
    """The answer with ``Connection: close``, for nginx would send its next request into our close."""
    if not answer.startswith(b"HTTP/1.1 ") or answer.startswith(b"HTTP/1.1 101"):
        return answer
    return answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def read_request(sock: socket.socket) -> bytes:
    """Read a head, and the body that its Content-Length announces."""
    received = b""
    while b"\r\n\r\n" not in received and (data := sock.recv(65536)):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    announced = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < announced and (data := sock.recv(65536)):
        body += data
    return head + b"\r\n\r\n" + body


def refused(answer: Answer, status: int, code: str) -> None:
    """Assert that nginx refused, in the gateway's error format."""
    assert (answer.status, answer.error["code"]) == (status, code), answer
    assert answer.headers["x-gateway-error-origin"] == "gateway"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["server"] == "nginx"
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def logged(nginx: Nginx, name: str, value: object) -> dict[str, Any]:
    """The first log line with that value. nginx writes it after it has sent the response."""

    def found() -> list[dict[str, Any]]:
        lines = map(json.loads, nginx.log.splitlines())
        return [line for line in lines if line[name] == value]

    return until(found)[0]
