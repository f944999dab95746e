"""Tests private CAs: the settings that name them, the errors, and the verification of upstreams."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import msgspec
import pytest
from kit.calls import make_call
from kit.needs import need

from flask_gateway.app import build
from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.upstreams import reach
from flask_gateway.config.describe import changed, describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.schema import Authorities, Settings
from flask_gateway.config.toml_file import files
from flask_gateway.model.errors import UpstreamUnreachable
from flask_gateway.state.memory import MemoryStore
from flask_gateway.upstreams.transport.tls_trust import context_for

BODY = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'


class House:
    """A CA of one's own, and a server with a certificate of it for localhost."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.ca = folder, folder / "ca.pem"
        self._openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
                      f"-keyout ca.key -out ca.pem -subj /CN={name}")  # fmt: skip
        self._openssl("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout s.key -out s.csr "
                      "-subj /CN=localhost")  # fmt: skip
        (folder / "extensions").write_text("subjectAltName=DNS:localhost\n")
        self._openssl("x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out s.pem -days 2 "
                      "-extfile extensions")  # fmt: skip

    def _openssl(self, words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=self.folder, check=True, capture_output=True)

    def hashed(self) -> Path:
        """A directory as ``openssl rehash`` makes it."""
        folder = self.folder / "certs"
        folder.mkdir(exist_ok=True)
        (folder / "ca.pem").write_bytes(self.ca.read_bytes())
        subprocess.run(["openssl", "rehash", str(folder)], check=True)
        return folder


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, house: House) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(house.folder / "s.pem", house.folder / "s.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://localhost:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A handshake that the other side gave up."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    need("openssl")
    return House(tmp_path_factory.mktemp("house"), "House")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> House:
    need("openssl")
    return House(tmp_path_factory.mktemp("stranger"), "Stranger")


@pytest.fixture(scope="module")
def server(house: House) -> Iterator[Server]:
    made = Server(house)
    yield made
    made.shutdown()
    made.server_close()


def answers(settings: Settings) -> bool:
    """Whether its one upstream is trusted, by a call and by doctor."""
    gateway = build.build(settings, MemoryStore())
    trusted, said = False, "a certificate that is not trusted"
    try:
        reply = gateway.candidates._endpoints["a", None].service.send(make_call()).prime()
        trusted = b"fine" in b"".join(reply)
        reply.close()
    except UpstreamUnreachable as error:
        said = error.message
    gateway.http.close()
    assert "a certificate that is not trusted" in said
    found = reach(settings.upstreams[0], 5.0)
    assert (found.level is Level.OK) is trusted, found
    assert trusted or "ca_file" in found.remedy
    return trusted


@pytest.fixture
def file(tmp_path: Path, server: Server) -> Callable[..., dict[str, str]]:
    def write(top: str = "", own: str = "") -> dict[str, str]:
        path = tmp_path / "gateway.toml"
        path.write_text(f"{top}\n[upstreams.a]\nurl = '{server.url}'\n{own}\n")
        return {"GATEWAY_CONFIG": str(path)}

    return write


def test_the_public_authorities_are_the_default(file: Callable[..., dict[str, str]]) -> None:
    settings = load(file())
    assert settings.ca_file is None
    assert not answers(settings)
    assert len(context_for(None).get_ca_certs()) > 50


@pytest.mark.parametrize(
    "where", ["upstream", "file", "GATEWAY_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
)
def test_a_file_of_a_private_ca(
    file: Callable[..., dict[str, str]], house: House, tmp_path: Path, where: str
) -> None:
    line = "ca_file = 'house.pem'"  # relative to the settings file
    (tmp_path / "house.pem").write_bytes(b"# ours, \xc3\xbcber all\n" + house.ca.read_bytes())
    environ = file(top=line if where == "file" else "", own=line if where == "upstream" else "")
    if where.isupper():
        environ[where] = str(tmp_path / "house.pem")
    assert answers(load(environ))
    (shown,) = [one for one in describe(resolve(environ)) if "house.pem" in one]
    assert shown.startswith("upstreams.a.ca_file" if where == "upstream" else "ca_file")
    assert shown.endswith("(from environment)" if where.isupper() else "(from file)")


def test_the_servers_own_certificate_is_enough(file: Callable[..., dict[str, str]], house: House) -> None:
    """It is no CA's, and has few of the extensions on which Python insists since 3.13."""
    settings = load(file(own=f"ca_file = '{house.folder / 's.pem'}'"))
    assert answers(settings)
    assert not context_for(settings.upstreams[0].ca_file).verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize("where", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_directory_of_a_private_ca(
    file: Callable[..., dict[str, str]], house: House, tmp_path: Path, where: str
) -> None:
    folders = str(house.hashed())
    if where == "SSL_CERT_DIR":
        folders = f"{tmp_path}{os.pathsep}{tmp_path / 'missing'}{os.pathsep}{folders}"
    assert answers(load({**file(), where: folders}))


def test_the_most_specific_setting_wins(
    file: Callable[..., dict[str, str]], house: House, stranger: House
) -> None:
    ours, theirs = str(house.ca), str(stranger.ca)
    own, top = f"ca_file = '{ours}'", f"ca_file = '{theirs}'"
    assert answers(load(file(top=top, own=own)))
    assert not answers(load(file(top=f"ca_file = '{ours}'", own=top)))
    assert answers(load({**file(top=top), "GATEWAY_CA_FILE": ours}))
    assert not answers(load({**file(top=top), "SSL_CERT_FILE": ours}))
    # The variables of OpenSSL and requests add up: an administrator may set them for the whole machine.
    assert answers(load({**file(), "SSL_CERT_FILE": ours, "REQUESTS_CA_BUNDLE": certifi.where()}))
    assert answers(load({**file(), "SSL_CERT_FILE": certifi.where(), "REQUESTS_CA_BUNDLE": ours}))


def test_an_upstream_without_tls_has_no_authorities(tmp_path: Path) -> None:
    environ = {"GATEWAY_UPSTREAMS": "a=http://localhost:1", "SSL_CERT_FILE": str(tmp_path / "missing")}
    settings = load(environ)
    assert (settings.ca_file, settings.upstreams[0].ca_file) == (None, None)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "it is empty"),
        (b"hello", "it holds no certificate"),
        (b"-----BEGIN EC PRIVATE KEY-----\nx\n", "it holds a private key, and no certificate"),
        (b"-----BEGIN X509 CRL-----\nx\n", "it holds something else in PEM, and no certificate"),
        (b"\x30\x82\x01", "it seems to be in DER"),
        (
            b"HOUSE-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 2 in it is broken",
        ),
        ("folder", "it is no regular file"),
        ("pipe", "it is no regular file"),
    ],
)
@pytest.mark.parametrize("where", ["upstreams.a.ca_file", "ca_file", "GATEWAY_CA_FILE", "SSL_CERT_FILE"])
def test_an_invalid_ca_file_is_refused_at_start(
    file: Callable[..., dict[str, str]],
    house: House,
    tmp_path: Path,
    content: bytes | str | None,
    why: str,
    where: str,
) -> None:
    path = tmp_path / "wrong.pem"
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, bytes):
        path.write_bytes(content.replace(b"HOUSE", house.ca.read_bytes()))
    line = f"ca_file = '{path}'"
    environ = file(top=line if where == "ca_file" else "", own=line if where.startswith("up") else "")
    if where.isupper():
        environ[where] = str(path)
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert str(caught.value).startswith(
        f"{where}='{path}': expected the path of a file of CA certificates in PEM; "
    )
    assert why in str(caught.value)


def test_a_missing_directory_is_refused(file: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(ConfigError, match="SSL_CERT_DIR='/missing': expected a directory of CA certificates"):
        load({**file(), "SSL_CERT_DIR": "/missing"})


def test_a_changed_file_is_another_ca(
    file: Callable[..., dict[str, str]], house: House, stranger: House, tmp_path: Path
) -> None:
    """Only the content of the file has changed, and new connections are verified by the new content."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(stranger.ca.read_bytes())
    environ = file(own="ca_file = 'ca.pem'")
    assert ca in files(environ["GATEWAY_CONFIG"])
    before = load(environ)
    gateway = build.build(before, MemoryStore())
    ca.write_bytes(house.ca.read_bytes())
    after = load(environ)
    assert list(changed(before, after)) == ["upstreams.a"]
    again = build.rebuild(after, gateway)
    assert again.http is not gateway.http
    for one, trusted in ((gateway, False), (again, True)):
        with suppress(UpstreamUnreachable):
            reply = one.candidates._endpoints["a", None].service.send(make_call()).prime()
            assert trusted
            reply.close()
        one.http.close()
    assert build.rebuild(msgspec.structs.replace(after, max_streams=7), again).http is again.http


def test_authorities_are_saved_for_new_workers_and_not_printed(house: House) -> None:
    kept = Authorities(("/ca.pem",), house.ca.read_text())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Authorities) == kept
    assert repr(kept) == "Authorities(/ca.pem)"


def test_many_authorities_are_read_once(file: Callable[..., dict[str, str]]) -> None:
    """To read those of certifi takes longer than a handshake."""
    environ = {**file(), "SSL_CERT_FILE": certifi.where()}
    one, two = (load(environ).upstreams[0].ca_file for _ in range(2))
    assert context_for(one) is context_for(two)
