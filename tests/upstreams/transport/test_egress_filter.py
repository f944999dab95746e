"""Where an upstream's name may lead."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, chat

from flask_gateway.upstreams.transport.egress_filter import allowed


def found(*addresses: str) -> list[tuple[Any, ...]]:
    """Return the result of ``socket.getaddrinfo`` for these addresses."""
    return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 80)) for one in addresses]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "fe80::a9fe:a9fe", "fe80::1%2",
        "fd00:ec2::254", "fd00:ec2::23", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.170",
        "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:a9fe:a9fe::1", "fd00:42::42",
        # IPv4 addresses inside of IPv6 ones: NAT64 with each length of its local prefix, 6to4,
        # IPv4-compatible, -mapped and -translated, ISATAP, Teredo.
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:0:a9:fea9:fe00:0",
        "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b::a83f:8110",
        "2002:a9fe:a9fe::1", "::a9fe:a9fe", "::ffff:168.63.129.16", "::ffff:0:a9fe:a9fe",
        "2001:db8::5efe:a9fe:a9fe", "2001:db8::200:5efe:a9fe:a9fe", "2001:0:4136:e378:8000:63bf:5601:5601",
    ],
)  # fmt: skip
def test_no_name_resolves_to_a_cloud_metadata_address(address: str) -> None:
    assert allowed("upstream.example", found(address)) == []
    # The others of the same name are asked.
    assert allowed("upstream.example", found(address, "192.0.2.1")) == found("192.0.2.1")
    # In the URL it is the operator's own word.
    assert allowed(address, found(address)) == found(address)


@pytest.mark.parametrize("address", [
        "127.0.0.1", "::1", "10.0.0.7", "192.168.1.2", "192.0.2.1", "fd00::1", "168.63.129.17",
        "100.100.100.201",
        "64:ff9b::c000:201", "64:ff9b:1::c000:201", "2002:c000:201::1", "::ffff:10.0.0.7",
        "2001:db8::5efe:a00:7", "2606:4700::1",
    ],
)  # fmt: skip
def test_every_other_address_is_allowed(address: str) -> None:
    assert allowed("upstream.example", found(address)) == found(address)


def test_a_filtered_upstream_gets_no_connection(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(*_: object) -> None:
        raise AssertionError("a connection was begun")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found("169.254.169.254"))
    monkeypatch.setattr(socket.socket, "connect", connected)
    answer = client.post("/v1/chat/completions", json=chat("llama"), headers=AUTH)
    assert answer.status_code == 502
    assert answer.json
    assert answer.json["error"]["code"] == "upstream_unreachable"
    assert "169.254" not in answer.get_data(as_text=True)
