"""Opens upstreams: the mock, or one that is called over HTTP, by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.protocols import Service
from ..model.quirks import UserIds

if TYPE_CHECKING:
    from ..config.schema import Timeouts, UpstreamSettings
    from .renewed_keys import RenewedKey
    from .stream_options import StreamOptions
    from .transport.client import UpstreamClient


def open_upstream(
    settings: UpstreamSettings,
    http: UpstreamClient,
    clocks: Timeouts,
    options: StreamOptions | None = None,
    renewed_key: RenewedKey | None = None,
) -> Service:
    """Return the service for one configured upstream.

    :param renewed_key: the key that a command prints; ``None``: there is none.
    :param options: whether it takes ``stream_options``, as far as known; ``None``: they are not used.
    :raises ValueError: this kind of upstream does not understand the URL.
    """
    if settings.url.startswith("mock://"):
        from .mock.upstream import MockUpstream

        return MockUpstream(settings.name, settings.url, clocks)
    from .http_upstream import HttpUpstream
    from .transport.tls_trust import egress_of

    key = settings.api_key.reveal() if settings.api_key else None
    upstream = HttpUpstream(settings.name, settings.url, key, http, clocks, options, settings.of_kind)
    upstream.egress, upstream.renewed_key = egress_of(settings), renewed_key
    quirks = settings.quirks or settings.of_kind.quirks
    upstream.replaces_user_ids = quirks.user_ids is UserIds.REPLACE
    return upstream
