"""Filters the addresses that an upstream's name resolves to: those of cloud metadata services are refused.

A hostile DNS server could point the name of an upstream at the service where a cloud tells each machine about
itself, its credentials included, and have the gateway send requests there. An address that the operator wrote
is not filtered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

#: Networks of cloud metadata services. Most clouds use 169.254.169.254.
_METADATA = tuple(
    ip_network(info)
    for info in (
        "169.254.0.0/16",  # link-local: AWS, Azure, GCP, Oracle, OpenStack and most others; AWS ECS and EKS
        "fe80::/10",  # link-local: OpenStack
        "192.0.0.0/24",  # IETF protocol assignments: Oracle Classic at .192
        "168.63.129.16/32",  # Azure's WireServer
        "100.100.100.200/32",  # Alibaba
        "fd00:ec2::/32",  # AWS: ::254, EKS Pod Identity at ::23
        "fd20:ce::/32",  # GCP: ::254
        "fd00:c1::/32",  # Oracle: ::a9fe:a9fe
        "fd00:a9fe:a9fe::/48",  # Linode: ::1
        "fd00:42::42/128",  # Scaleway
    )
)
#: IPv6 networks whose addresses embed an IPv4 address, and how many bits stand to the right of it.
_CARRIERS = tuple(
    (ip_network(network), shift)
    for network, shift in (
        ("::/96", 0),  # IPv4-compatible (RFC 4291)
        ("::ffff:0:0/96", 0),  # IPv4-mapped (RFC 4291)
        ("::ffff:0:0:0/96", 0),  # IPv4-translated (RFC 2765)
        ("64:ff9b::/96", 0),  # NAT64 (RFC 6052)
        ("2002::/16", 80),  # 6to4 (RFC 3056)
    )
)
#: The prefixes of local NAT64 (RFC 8215), which may have 48, 56, 64 or 96 bits (RFC 6052, section 2.2).
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
#: Interface identifiers of ISATAP (RFC 5214), which end in an IPv4 address.
_ISATAP = (0x00005EFE, 0x02005EFE)
#: Teredo (RFC 4380): the client's IPv4 address, inverted, is on the right.
_TEREDO = ip_network("2001::/32")

_Address = IPv4Address | IPv6Address


def allowed(host: str, resolved: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the addresses that may be connected to.

    :param host: as it stands in the URL. :param resolved: the result of ``socket.getaddrinfo`` for it.
    """
    if _parse(host) is not None:
        return [*resolved]
    return [info for info in resolved if not _is_metadata(_parse(info[4][0]))]


def _is_metadata(address: _Address | None) -> bool:
    if address is None:
        return False
    return any(info in network for info in _unwrapped(address) for network in _METADATA)


def _unwrapped(address: _Address) -> Iterator[_Address]:
    """Yield the address, and the IPv4 addresses that it may be translated to."""
    if isinstance(address, IPv4Address):
        yield address
        return
    bits = int(address)
    yield IPv6Address(bits)  # without its zone
    for network, shift in _CARRIERS:
        if address in network:
            yield IPv4Address(bits >> shift & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        yield IPv4Address(bits & 0xFFFFFFFF)
        yield IPv4Address(bits >> 24 & 0xFFFFFFFF)
        yield IPv4Address((bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFFFFFF)
        yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address(~bits & 0xFFFFFFFF)


def _parse(text: str) -> _Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
