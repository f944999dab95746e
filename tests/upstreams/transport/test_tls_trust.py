"""Tests the TLS contexts for upstreams: all verify, and equal settings share one."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec
import pytest
from kit.tls import make_certificate

from flask_gateway.config.schema import Authorities, Proxy, UpstreamSettings
from flask_gateway.upstreams.transport.proxies import Egress
from flask_gateway.upstreams.transport.tls_trust import context_for, egress_of

HTTPS = UpstreamSettings(name="a", url="https://up.test/v1")


def test_every_context_verifies_certificate_and_name() -> None:
    context = context_for(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 50
    assert context is context_for(None)


def test_private_authorities_replace_the_public_ones(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    context = context_for(Authorities(pem=(tmp_path / "certificate.pem").read_text()))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509"] == 1
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN


def test_a_text_that_is_no_certificate_is_refused() -> None:
    with pytest.raises((ssl.SSLError, ValueError)):
        context_for(Authorities(pem="no certificate"))


def test_the_way_to_an_upstream_follows_from_its_settings() -> None:
    assert egress_of(HTTPS) is egress_of(msgspec.structs.replace(HTTPS, name="b"))
    assert egress_of(UpstreamSettings(name="a", url="http://up.test/v1")) is None
    proxied = msgspec.structs.replace(HTTPS, proxy=Proxy("https", "proxy.test", 443))
    assert isinstance(egress_of(proxied), Egress)
    assert egress_of(proxied) is egress_of(msgspec.structs.replace(proxied, name="b"))
    other = msgspec.structs.replace(proxied, proxy=Proxy("http", "proxy.test", 443))
    assert egress_of(other) is not egress_of(proxied)
