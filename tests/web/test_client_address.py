"""Tests the address of a caller: a proxy's word counts only if nobody else can have written it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from flask_gateway.web.client_address import (
    Sharing,
    address_of,
    is_from_here,
    is_loopback,
    sharing_of,
    shown_address_of,
)


def environ(peer: str, **headers: str) -> dict[str, str]:
    return {"REMOTE_ADDR": peer, **{f"HTTP_{name.upper()}": value for name, value in headers.items()}}


CASES = [
    (environ("8.8.8.8"), Sharing.OWN, "8.8.8.8"),
    (environ("::ffff:8.8.8.8"), Sharing.OWN, "8.8.8.8"),
    (environ("2001:db8:1:2:3::9"), Sharing.OWN, "2001:db8:1:2::/64"),
    (environ("10.0.0.1", x_forwarded_for="8.8.8.8"), Sharing.PROXY, "10.0.0.1"),
    (environ("10.0.0.1", via="1.1 x"), Sharing.PROXY, "10.0.0.1"),
    (environ("127.0.0.1", x_forwarded_for="8.8.8.8"), Sharing.OWN, "8.8.8.8"),
    (environ("", x_forwarded_for="8.8.8.8"), Sharing.OWN, "8.8.8.8"),
    (environ("127.0.0.1", x_forwarded_for="1.2.3.4, 8.8.8.8"), Sharing.UNKNOWN, ""),
    (environ(""), Sharing.UNKNOWN, ""),
    (environ("127.0.0.1"), Sharing.MACHINE, "127.0.0.1"),
]


@pytest.mark.parametrize(("given", "sharing", "shown"), CASES)
def test_the_address_and_who_may_share_it(given: dict[str, str], sharing: Sharing, shown: str) -> None:
    assert sharing_of(given) is sharing
    assert shown_address_of(given) == shown
    assert bool(address_of(given)) is bool(shown)


def test_all_of_a_network_of_ipv6_share_an_address() -> None:
    one, other = (address_of(environ(f"2001:db8::{end}")) for end in ("1", "ffff"))
    assert one == other == ip_address("2001:db8::").packed[:8]


@pytest.mark.parametrize(
    ("given", "here"),
    [
        (environ("127.0.0.1"), True),
        (environ(""), True),
        (environ("127.0.0.1", x_forwarded_for="::1"), True),
        (environ("127.0.0.1", x_forwarded_for="8.8.8.8"), False),
        (environ("127.0.0.1", x_forwarded_for="127.0.0.1, 8.8.8.8"), False),
        (environ("8.8.8.8"), False),
    ],
)
def test_a_request_of_this_machine(given: dict[str, str], here: bool) -> None:
    assert is_from_here(given) is here


def test_loopback() -> None:
    assert is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not any(map(is_loopback, ("", None, "10.0.0.1", "localhost")))
