"""Where a request comes from, as far as it can be known."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any


def address_of(environ: Mapping[str, Any]) -> bytes:
    """The address of whoever sent the request: an IPv4 address, or the network of an IPv6 address, since
    hardly anybody has less of them than a ``/64``. Empty if it is not known.

    A proxy on this machine is believed what it says in ``X-Forwarded-For``, if that is one address: the
    proxy's own word then, and not a list that the caller has begun.
    """
    peer = _parse(environ.get("REMOTE_ADDR", ""))
    # The other end of a Unix socket has no address.
    told = environ.get("HTTP_X_FORWARDED_FOR") if peer is None or peer.is_loopback else None
    address = (_parse(told) if told else None) or peer
    return b"" if address is None else address.packed[:8]


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
