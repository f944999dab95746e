"""Whether the upstreams can be reached: a connection and a handshake, and not one token."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import certifi

from ..config import Clocks, UpstreamSettings
from .finding import Finding, fail, ok

#: Upstreams at a time.
AT_ONCE = 8


def look(upstreams: Sequence[UpstreamSettings], clocks: Clocks) -> Iterator[Finding]:
    """:param clocks: of those upstreams that have none of their own."""
    with ThreadPoolExecutor(AT_ONCE, "doctor") as pool:
        yield from pool.map(lambda one: reach(one, (one.clocks or clocks).connect), upstreams)


def reach(upstream: UpstreamSettings, patience: float) -> Finding:
    """:param patience: seconds."""
    name, parts = f"upstream {upstream.name}", urlsplit(upstream.url)
    if parts.scheme == "mock":
        return ok(f"{name}: built in")
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        with socket.create_connection((host, port), patience) as sock:
            if secure:
                # The CAs that requests goes by.
                context = ssl.create_default_context(cafile=certifi.where())
                context.wrap_socket(sock, server_hostname=host).close()
    except OSError as error:
        return unreachable(name, f"{host}:{port}", patience, error)
    return ok(f"{name}: reachable{', and its certificate is good' if secure else ''}")


def unreachable(name: str, place: str, patience: float, error: OSError) -> Finding:
    """:param place: host and port. :param patience: how long was waited, seconds."""
    match error:
        case ssl.SSLCertVerificationError():
            why, remedy = f"its certificate is refused: {error.verify_message}", "a name and a CA that fit"
        case socket.gaierror():
            why, remedy = f"no such name: {place}", "its url, or this machine's DNS"
        case TimeoutError():
            why, remedy = f"nobody took the connection within {patience:g} s", "its url, or a firewall"
        case _:
            why, remedy = f"{error.strerror or error}", f"is it running at {place}?"
    return fail(f"{name}: {why}", remedy)
