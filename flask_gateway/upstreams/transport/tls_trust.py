"""Makes the TLS contexts for upstreams, one for each set of authorities and client certificate."""

from __future__ import annotations

import ssl
from functools import lru_cache

import certifi
from urllib3.util.ssl_ import create_urllib3_context

from ...config.client_certificates import load_into
from ...config.schema import Authorities, ClientCertificate, Proxy, UpstreamSettings
from ...config.upstream_url import socket_path
from .proxies import Egress


@lru_cache(maxsize=64)
def context_for(authorities: Authorities | None, shown: ClientCertificate | None = None) -> ssl.SSLContext:
    """Return a context that verifies certificate and name.

    All connections share it, because loading the CAs takes longer than a handshake.

    :param authorities: ``None``: the public CAs, of certifi.
    :param shown: the certificate for upstreams that ask for one.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if shown is not None:
        load_into(context, shown)
    if authorities is None:
        context.load_verify_locations(cafile=certifi.where())
        return context
    # Private CAs often lack extensions that RFC 5280 asks for and that newer versions of Python insist on. An
    # intermediate CA, or the certificate itself, may be all that an operator has.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if authorities.pem:
        context.load_verify_locations(cadata=authorities.pem)
    for folder in authorities.folders:
        context.load_verify_locations(capath=folder)
    return context


def egress_of(upstream: UpstreamSettings) -> ssl.SSLContext | Egress | None:
    """Return how the upstream is reached.

    Without a proxy or a Unix socket: the context that verifies it, or ``None`` when its URL is not https.
    """
    if upstream.proxy is not None or socket_path(upstream.url) is not None:
        return _egress(upstream.url, upstream.proxy, upstream.ca_file, upstream.client_cert)
    return context_for(upstream.ca_file, upstream.client_cert) if upstream.url.startswith("https:") else None


@lru_cache(maxsize=256)
def _egress(
    url: str, proxy: Proxy | None, authorities: Authorities | None, shown: ClientCertificate | None
) -> Egress:
    """Return one object for equal settings, since connections are pooled by it."""
    from .egress import ProxyEgress, UnixEgress

    path = socket_path(url)
    if path is not None:
        return UnixEgress(path)
    assert proxy is not None
    context = context_for(authorities, shown) if url.startswith("https:") else None
    return ProxyEgress(context, proxy, context_for(authorities) if proxy.scheme == "https" else None)
