"""Provides a scripted server: plain, with TLS, and on IPv6."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.tls import make_certificate
from kit.two_clients import Server, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls", "ipv6"], scope="module")
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Server]:
    context = None
    if request.param == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with serving(socket.AF_INET6 if request.param == "ipv6" else socket.AF_INET, context) as server:
        yield server
