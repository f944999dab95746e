"""Checks that the upstreams are reachable, with a connection and a handshake. Costs no token."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from ...config.client_certificates import not_after
from ...config.kinds import KeyCommand
from ...config.schema import ClientCertificate, Proxy, Timeouts, UpstreamSettings
from ...config.upstream_url import socket_path
from ...upstreams.key_command import KeyCommandFailed, run_key_command
from ...upstreams.transport.egress import pumped
from ...upstreams.transport.happy_eyeballs import Interrupt, Race, interleaved
from ...upstreams.transport.proxies import ProxyFailed, authorization, refusal, tunnel
from ...upstreams.transport.tls_trust import context_for
from .finding import Diagnosis, fail, ok, warn

#: The number of upstreams that are checked in parallel.
AT_ONCE = 8
#: A client certificate that expires sooner is worth a warning.
SOON = timedelta(days=14)
#: The statuses of a proxy that has not reached the upstream, or refuses to.
_PROXY_STATUSES = (403, 407, 502, 503, 504)


class ClosedAfterHandshake(OSError):
    """The upstream closed the connection after the handshake, without an answer."""


def check_all(upstreams: Sequence[UpstreamSettings], clocks: Timeouts) -> Iterator[Diagnosis]:
    """:param clocks: the timeouts of upstreams that set none themselves."""

    def check(upstream: UpstreamSettings) -> Diagnosis:
        return reach(upstream, (upstream.clocks or clocks).connect)

    shown = dict.fromkeys(upstream.client_cert for upstream in upstreams if upstream.client_cert)
    yield from (expiry(certificate, datetime.now(UTC)) for certificate in shown)
    yield from (
        printed_key(upstream.name, upstream.key_command) for upstream in upstreams if upstream.key_command
    )
    with ThreadPoolExecutor(AT_ONCE, "doctor") as pool:
        yield from pool.map(check, upstreams)


def expiry(certificate: ClientCertificate, now: datetime) -> Diagnosis:
    """Whether the client certificate is still valid. Its key belongs to it, or the settings were refused."""
    name = f"client certificate {certificate}"
    try:
        end = not_after(certificate)
    except ValueError as error:
        return warn(f"{name}: its expiry cannot be read: {error}", "openssl x509 -enddate -noout -in FILE")
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return fail(f"{name}: it expired at {day}", "a new one; it is taken over when the file changes")
    if end - now < SOON:
        return warn(f"{name}: it expires soon, at {day}", "a new one; it is taken over when the file changes")
    return ok(f"{name}: valid until {day}, and its key belongs to it")


def printed_key(name: str, command: KeyCommand) -> Diagnosis:
    """Whether the command of an upstream prints a key. Its output is not shown."""
    name, began = f"upstream {name}: api_key_command", time.monotonic()
    try:
        printed = run_key_command(command.arguments)
    except KeyCommandFailed as error:
        return fail(f"{name}: {error}", "run it by hand, as the user of the gateway")
    lifetime = f", valid for {printed.lifetime:.0f} s" if printed.lifetime is not None else ""
    return ok(f"{name}: prints a key in {time.monotonic() - began:.1f} s{lifetime}")


def reach(upstream: UpstreamSettings, patience: float) -> Diagnosis:
    """:param patience: seconds."""
    name, parts = f"upstream {upstream.name}", urlsplit(upstream.url)
    if parts.scheme == "mock":
        return ok(f"{name}: built in")
    path = socket_path(upstream.url)
    if path is not None:
        return at_socket(name, path, patience)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        sock, silent = _connected(upstream, host, port, patience)
        with closing(sock):
            if secure:
                context = context_for(upstream.ca_file, upstream.client_cert)
                with context.wrap_socket(sock, server_hostname=host) as tls:
                    _provoke(tls, host)
    except OSError as error:
        return unreachable(name, f"{host}:{port}", patience, error)
    if silent:
        what = f"{name}: reachable, but {', '.join(silent)} did not answer before another address did"
        return warn(what, "the network to it, or its name in DNS: new connections may wait 250 ms for it")
    through = f" through {upstream.proxy}" if upstream.proxy else ""
    return ok(f"{name}: reachable{through}{', and its certificate is valid' if secure else ''}")


def at_socket(name: str, path: str, patience: float) -> Diagnosis:
    """Whether a server listens at the Unix socket."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return fail(f"{name}: {path} is no socket", "its url, or the path that its server listens at")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(patience)
            sock.connect(path)
    except FileNotFoundError:
        return fail(f"{name}: there is no socket {path}", "is its server running, and at that path?")
    except PermissionError:
        return fail(f"{name}: no right to connect to {path}", "the group and the mode of the socket")
    except OSError as error:
        return fail(f"{name}: {error.strerror or error} at {path}", "is its server running?")
    return ok(f"{name}: reachable at {path}")


def _connected(
    upstream: UpstreamSettings, host: str, port: int, patience: float
) -> tuple[socket.socket, list[str]]:
    """Return a connection to the upstream, or to the proxy that forwards plain HTTP to it.

    And the addresses of the upstream that another one has left behind, as the gateway tries them.

    :raises ProxyFailed: the proxy is at fault. :raises OSError: there is no connection.
    """
    proxy, until = upstream.proxy, time.monotonic() + patience
    if proxy is None:
        return _first_to_answer(host, port, until)
    sock = _at_proxy(proxy, upstream, patience)
    try:
        if upstream.url.startswith("https:") or proxy.scheme.startswith("socks"):
            tunnel(sock, proxy, host, port, until)
        else:
            _ask_to_forward(sock, proxy, upstream.url)
    except BaseException:
        sock.close()
        raise
    if isinstance(sock, ssl.SSLSocket) and upstream.url.startswith("https:"):
        sock = pumped(sock)
    sock.settimeout(patience)
    return sock, []


def _first_to_answer(host: str, port: int, until: float) -> tuple[socket.socket, list[str]]:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    race, interrupt = Race(interleaved(addresses), (), until), Interrupt()
    try:
        sock = race.run(interrupt)
    finally:
        interrupt.close()
    sock.settimeout(max(until - time.monotonic(), 0.1))
    return sock, [str(address[0]) for address in race.vain]


def _at_proxy(proxy: Proxy, upstream: UpstreamSettings, patience: float) -> socket.socket:
    try:
        sock = socket.create_connection((proxy.host, proxy.port), patience)
    except OSError as error:
        raise ProxyFailed(f"its proxy {proxy} cannot be reached: {error.strerror or error}") from error
    if proxy.scheme != "https":
        return sock
    try:
        return context_for(upstream.ca_file).wrap_socket(sock, server_hostname=proxy.host)
    except OSError as error:
        sock.close()
        why = getattr(error, "verify_message", "") or error.strerror or str(error)
        raise ProxyFailed(f"the TLS handshake with its proxy {proxy} failed: {why}") from error


def _ask_to_forward(sock: socket.socket, proxy: Proxy, url: str) -> None:
    """Have the proxy forward a request that costs nothing. :raises ProxyFailed: it refuses."""
    credentials = authorization(proxy)
    lines = [f"HEAD {url}/models HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Connection: close"]
    lines += [f"Proxy-Authorization: {credentials}"] if credentials else []
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    words = sock.recv(4096).split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1][:3].isdigit() else 0
    if status in _PROXY_STATUSES:
        raise refusal(status)
    if not status:
        raise ProxyFailed(f"its proxy {proxy} does not speak HTTP")


def _provoke(sock: ssl.SSLSocket, host: str) -> None:
    """Wait for an answer: in TLS 1.3 a server refuses a client's certificate after the handshake.

    :raises ssl.SSLError: it has refused.
    """
    try:
        sock.sendall(f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        sock.recv(1)
    except TimeoutError:
        return  # a server that ignores OPTIONS is reachable, too
    except (ConnectionError, ssl.SSLEOFError) as error:
        raise ClosedAfterHandshake from error


def unreachable(name: str, place: str, patience: float, error: OSError) -> Diagnosis:
    """:param place: host and port. :param patience: the timeout that passed, seconds."""
    match error:
        case ProxyFailed():
            why, remedy = error.text, "its proxy setting, or the proxy's rules and log"
        case ClosedAfterHandshake():
            why = "it closed the connection after the handshake: it may refuse, or want, a client certificate"
            return warn(f"{name}: {why}", "its log, or client_cert and client_key in its table")
        case ssl.SSLCertVerificationError():
            why = f"its certificate is refused: {error.verify_message}"
            remedy = "a certificate for that name; if a private CA has signed it, name that CA in ca_file"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            why = f"it refuses the gateway's client certificate, or wants one: {error.reason}"
            remedy = "client_cert and client_key in its table, with a certificate that it accepts"
        case socket.gaierror():
            why, remedy = f"no such name: {place}", "its url, or this machine's DNS"
        case TimeoutError():
            why, remedy = f"no connection within {patience:g} s", "its url, or a firewall"
        case _:
            why, remedy = f"{error.strerror or error}", f"is it running at {place}?"
    return fail(f"{name}: {why}", remedy)
