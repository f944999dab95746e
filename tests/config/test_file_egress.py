"""Tests how the file says how upstreams are reached: relative paths, and fields that exclude each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.file_egress import FileEgress, egress_of, only_one
from flask_gateway.config.schema import Proxy
from flask_gateway.config.secrets import SecretRef

FOLDER = Path("/etc/gateway")


def test_two_ways_to_name_a_proxy_are_refused_with_the_path_of_the_second() -> None:
    with pytest.raises(
        ConfigError, match=r"^upstreams\.a\.proxy_env: expected only one of proxy and proxy_env"
    ):
        egress_of(("upstreams", "a"), {"proxy": Proxy("none"), "proxy_env": "P"}, FOLDER)


def test_paths_are_relative_to_the_file() -> None:
    found = egress_of((), {"ca_file": "ca.pem", "client_cert": "/abs/cert.pem", "client_key": "k"}, FOLDER)
    assert list(found.files()) == [FOLDER / "ca.pem", Path("/abs/cert.pem"), FOLDER / "k"]
    assert found.proxy is None
    assert list(egress_of((), {}, FOLDER).files()) == []
    assert egress_of((), {}, FOLDER) == FileEgress()


def test_a_proxy_is_written_or_referred_to() -> None:
    assert egress_of((), {"proxy": Proxy("none")}, FOLDER).proxy == Proxy("none")
    assert egress_of(("upstreams", "a.b"), {"proxy_env": "P"}, FOLDER).proxy == SecretRef(
        'upstreams."a.b".proxy_env', "P"
    )


def test_the_one_name_that_is_set() -> None:
    assert only_one((), {"b": 1}, ("a", "b")) == "b"
    assert only_one((), {}, ("a", "b")) is None
