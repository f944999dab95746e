"""Names the keys, the limit and the fixture type that the live tests share."""

from __future__ import annotations

from collections.abc import Callable

from kit.planted import LIVE_KEY, LIVE_UPSTREAM_KEY
from kit.servers import Gateway

KEY, UPSTREAM_KEY = LIVE_KEY, LIVE_UPSTREAM_KEY
#: A limit that no test reaches.
UNLIMITED = "1000000"
#: The fixture ``start_gateway``: ``start_gateway(GATEWAY_…="…")`` starts one more gateway.
StartGateway = Callable[..., Gateway]
