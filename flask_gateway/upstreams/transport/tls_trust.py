"""Makes the TLS contexts by which upstreams are verified, one for each set of authorities."""

from __future__ import annotations

import ssl
from functools import lru_cache

import certifi
from urllib3.util.ssl_ import create_urllib3_context

from ...config.schema import Authorities, UpstreamSettings


@lru_cache(maxsize=64)
def context_for(authorities: Authorities | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and name.

    All connections share it, because loading the CAs takes longer than a handshake.

    :param authorities: ``None``: the public CAs, of certifi.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
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


def trust_of(upstream: UpstreamSettings) -> ssl.SSLContext | None:
    """Return the context that verifies this upstream; ``None`` when its URL is not https."""
    return context_for(upstream.ca_file) if upstream.url.startswith("https:") else None
