"""Names and settings that live tests share."""

from __future__ import annotations

from collections.abc import Callable

from kit.planted import LIVE_KEY, LIVE_UPSTREAM_KEY
from kit.servers import Gateway

KEY, UPSTREAM_KEY = LIVE_KEY, LIVE_UPSTREAM_KEY


MANY = "1000000"


StartGateway = Callable[..., Gateway]
