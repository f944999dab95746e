"""Finds the address that a request comes from, if it can be known."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any

#: Headers that proxies add to the requests they forward.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via", "X-Request-Start")
_WSGI_NAMES = tuple(f"HTTP_{name.upper().replace('-', '_')}" for name in FORWARDED)


class Sharing(StrEnum):
    """How many callers may share an address. ``doctor`` explains it to operators."""

    #: One caller, or one network of callers.
    OWN = "own"
    #: This machine's own address: a local caller, or a local proxy that does not forward addresses.
    MACHINE = "machine"
    #: A proxy on another machine, whose headers the gateway does not trust.
    PROXY = "proxy"
    #: A local proxy sends something other than one address, such as a list.
    UNKNOWN = "unknown"


def address_of(environ: Mapping[str, Any]) -> bytes:
    """The sender's IPv4 address, or the ``/64`` network of its IPv6 address, which nearly every host has to
    itself. Empty if it is not known.

    A proxy on this machine is trusted if its ``X-Forwarded-For`` is a single address: the proxy wrote that
    itself. The caller may have begun a list.
    """
    return _classify(environ)[1]


def shown_address_of(environ: Mapping[str, Any]) -> str:
    """The sender's address as text, for the audit; of IPv6 the network. Empty if it is not known."""
    known = address_of(environ)
    if len(known) == 8:
        return f"{IPv6Address(known + bytes(8))}/64"
    return str(ip_address(known)) if known else ""


def sharing_of(environ: Mapping[str, Any]) -> Sharing:
    """How many callers may share the address that :func:`address_of` returns."""
    return _classify(environ)[0]


def _classify(environ: Mapping[str, Any]) -> tuple[Sharing, bytes]:
    peer = _parse(environ.get("REMOTE_ADDR", ""))
    if peer is not None and not peer.is_loopback:
        proxied = any(environ.get(name) for name in _WSGI_NAMES)
        return (Sharing.PROXY if proxied else Sharing.OWN), peer.packed[:8]
    # The other end of a Unix socket has no address.
    forwarded = environ.get("HTTP_X_FORWARDED_FOR")
    address = _parse(forwarded) if forwarded else None
    if address is not None:
        return Sharing.OWN, address.packed[:8]
    if forwarded or peer is None:
        return Sharing.UNKNOWN, b""
    return Sharing.MACHINE, peer.packed[:8]


def is_from_here(environ: Mapping[str, Any]) -> bool:
    """Whether a request was sent on this machine: over loopback or a Unix socket, and not forwarded by a
    local proxy for a caller elsewhere."""
    peer, forwarded = _parse(environ.get("REMOTE_ADDR", "")), environ.get("HTTP_X_FORWARDED_FOR")
    return (peer is None or peer.is_loopback) and (not forwarded or is_loopback(forwarded))


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's own. A Unix socket has none, so the answer for it is no: its
    other end is usually a proxy."""
    address = _parse(peer or "")
    return address is not None and address.is_loopback


def _parse(text: str) -> Any:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
