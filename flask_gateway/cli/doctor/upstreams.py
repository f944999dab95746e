"""Checks that the upstreams are reachable, with a connection and a handshake. Costs no token."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ...config.schema import Timeouts, UpstreamSettings
from ...upstreams.transport.tls_trust import context_for
from .finding import Diagnosis, fail, ok

#: The number of upstreams that are checked in parallel.
AT_ONCE = 8


def check_all(upstreams: Sequence[UpstreamSettings], clocks: Timeouts) -> Iterator[Diagnosis]:
    """:param clocks: the timeouts of upstreams that set none themselves."""

    def check(upstream: UpstreamSettings) -> Diagnosis:
        return reach(upstream, (upstream.clocks or clocks).connect)

    with ThreadPoolExecutor(AT_ONCE, "doctor") as pool:
        yield from pool.map(check, upstreams)


def reach(upstream: UpstreamSettings, patience: float) -> Diagnosis:
    """:param patience: seconds."""
    name, parts = f"upstream {upstream.name}", urlsplit(upstream.url)
    if parts.scheme == "mock":
        return ok(f"{name}: built in")
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        with socket.create_connection((host, port), patience) as sock:
            if secure:
                context_for(upstream.ca_file).wrap_socket(sock, server_hostname=host).close()
    except OSError as error:
        return unreachable(name, f"{host}:{port}", patience, error)
    return ok(f"{name}: reachable{', and its certificate is valid' if secure else ''}")


def unreachable(name: str, place: str, patience: float, error: OSError) -> Diagnosis:
    """:param place: host and port. :param patience: the timeout that passed, seconds."""
    match error:
        case ssl.SSLCertVerificationError():
            why = f"its certificate is refused: {error.verify_message}"
            remedy = "a certificate for that name; if a private CA has signed it, name that CA in ca_file"
        case socket.gaierror():
            why, remedy = f"no such name: {place}", "its url, or this machine's DNS"
        case TimeoutError():
            why, remedy = f"no connection within {patience:g} s", "its url, or a firewall"
        case _:
            why, remedy = f"{error.strerror or error}", f"is it running at {place}?"
    return fail(f"{name}: {why}", remedy)
