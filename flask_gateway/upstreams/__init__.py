"""Whatever answers a call: one class per kind of upstream, chosen by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.protocols import Service

if TYPE_CHECKING:
    from ..config.schema import Timeouts, UpstreamSettings
    from .stream_options import StreamOptions
    from .transport.client import UpstreamClient


def open_upstream(
    settings: UpstreamSettings, http: UpstreamClient, clocks: Timeouts, options: StreamOptions | None = None
) -> Service:
    """The service for one configured upstream.

    :param options: what is known of its ``stream_options``; ``None``: they are not to be used.
    :raises ValueError: the URL is not one that its kind of upstream understands.
    """
    if settings.url.startswith("mock://"):
        from .mock.upstream import MockUpstream

        return MockUpstream(settings.name, settings.url, clocks)
    from .openai import OpenAIUpstream
    from .transport.tls_trust import trust_of

    key = settings.api_key.reveal() if settings.api_key else None
    upstream = OpenAIUpstream(settings.name, settings.url, key, http, clocks, options)
    upstream.trust = trust_of(settings)
    return upstream
