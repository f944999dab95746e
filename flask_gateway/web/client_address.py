"""Finds the address that a request comes from, as far as it can be known."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any

#: What proxies add to the requests of others.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via", "X-Request-Start")
_AS_WSGI_NAMES_THEM = tuple(f"HTTP_{name.upper().replace('-', '_')}" for name in FORWARDED)


class Sharing(StrEnum):
    """How many callers an address may stand for. ``doctor`` explains it to operators."""

    #: One caller, or one network of callers.
    OWN = "own"
    #: This machine's own address: a caller here, or a proxy here that does not pass addresses on.
    MACHINE = "machine"
    #: A proxy on another machine, whose headers are not believed.
    PROXY = "proxy"
    #: A proxy here sends something else than one address, such as a list.
    UNKNOWN = "unknown"


def address_of(environ: Mapping[str, Any]) -> bytes:
    """The address of whoever sent the request: an IPv4 address, or the network of an IPv6 address, since
    hardly anybody has less of them than a ``/64``. Empty if it is not known.

    A proxy on this machine is believed what it says in ``X-Forwarded-For``, if that is one address: the
    proxy's own word then, and not a list that the caller has begun.
    """
    return _look(environ)[1]


def sharing_of(environ: Mapping[str, Any]) -> Sharing:
    """How many callers :func:`address_of` may stand for."""
    return _look(environ)[0]


def _look(environ: Mapping[str, Any]) -> tuple[Sharing, bytes]:
    peer = _parse(environ.get("REMOTE_ADDR", ""))
    if peer is not None and not peer.is_loopback:
        proxied = any(environ.get(name) for name in _AS_WSGI_NAMES_THEM)
        return (Sharing.PROXY if proxied else Sharing.OWN), peer.packed[:8]
    # The other end of a Unix socket has no address.
    told = environ.get("HTTP_X_FORWARDED_FOR")
    address = _parse(told) if told else None
    if address is not None:
        return Sharing.OWN, address.packed[:8]
    if told or peer is None:
        return Sharing.UNKNOWN, b""
    return Sharing.MACHINE, peer.packed[:8]


def is_from_here(environ: Mapping[str, Any]) -> bool:
    """Whether a request was sent on this machine: over loopback or a Unix socket, and not by a proxy here
    that speaks for somebody elsewhere."""
    peer, told = _parse(environ.get("REMOTE_ADDR", "")), environ.get("HTTP_X_FORWARDED_FOR")
    return (peer is None or peer.is_loopback) and (not told or is_loopback(told))


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's own. A Unix socket has none, and mostly a proxy at its end."""
    address = _parse(peer or "")
    return address is not None and address.is_loopback


def _parse(text: str) -> Any:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
