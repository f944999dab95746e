"""Where an upstream's name may lead."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from conftest import AUTH, chat
from flask.testing import FlaskClient

from flask_gateway.upstreams.addresses import allowed


def found(*addresses: str) -> list[tuple[Any, ...]]:
    """What the resolver says."""
    return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 80)) for one in addresses]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "fe80::a9fe:a9fe", "fe80::1%2",
        "fd00:ec2::254", "100.100.100.200",
    ],
)  # fmt: skip
def test_no_name_leads_to_where_a_cloud_tells_of_the_machine(address: str) -> None:
    assert allowed("upstream.example", found(address)) == []
    # The others of the same name are asked.
    assert allowed("upstream.example", found(address, "192.0.2.1")) == found("192.0.2.1")
    # In the URL it is the operator's own word.
    assert allowed(address, found(address)) == found(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.2", "192.0.2.1", "fd00::1"])
def test_every_other_address_is_an_upstreams(address: str) -> None:
    assert allowed("upstream.example", found(address)) == found(address)


def test_nobody_is_connected_to_then(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(*_: object) -> None:
        raise AssertionError("a connection was begun")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found("169.254.169.254"))
    monkeypatch.setattr(socket.socket, "connect", connected)
    answer = client.post("/v1/chat/completions", json=chat("llama"), headers=AUTH)
    assert answer.status_code == 502
    assert answer.json
    assert answer.json["error"]["code"] == "upstream_unreachable"
    assert "169.254" not in answer.get_data(as_text=True)
