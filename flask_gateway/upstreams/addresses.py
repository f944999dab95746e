"""Which of the addresses that an upstream's name leads to are gone to.

Who runs the name server of an upstream says where its name leads, and might say: to where a cloud tells each
machine about itself, its credentials among it. An address that the operator wrote is the operator's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

#: Of Amazon's clouds over IPv6, and of Alibaba's; all others' are link-local (RFC 3927, RFC 4291).
_METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200")})


def allowed(host: str, found: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The addresses that may be gone to.

    :param host: as the URL has it. :param found: what ``socket.getaddrinfo`` says of it.
    """
    if _parse(host) is not None:
        return [*found]
    return [one for one in found if not _tells_of_the_machine(_parse(one[4][0]))]


def _tells_of_the_machine(address: IPv4Address | IPv6Address | None) -> bool:
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address is not None and (address.is_link_local or address in _METADATA)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
