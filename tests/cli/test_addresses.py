"""Tests the addresses that serve names and checks."""

from __future__ import annotations

import socket

import pytest

from flask_gateway.cli.addresses import in_use, local_url

# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        (":2", "http://127.0.0.1:2"),
        ("[::]:3", "http://[::1]:3"),
        ("tcp://h:4", "http://h:4"),
        ("unix:/run/g.sock,127.0.0.1:5", "http://127.0.0.1:5"),
        ("unix:/run/g.sock", None),
        ("fd://3", None),
    ],
)
def test_the_url_of_an_address(bind: str, url: str | None) -> None:
    assert local_url(bind) == url


def test_only_an_address_with_a_listener_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = f"127.0.0.1:{listener.getsockname()[1]}"
        assert in_use(["unix:/nowhere/g.sock", "192.0.2.1:80", taken]) == taken
    assert in_use([taken, "fd://3"]) is None
