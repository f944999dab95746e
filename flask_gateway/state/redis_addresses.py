"""Opens connections to the Redis that a URL names: one address, or the primary that Sentinels know.

``redis+sentinel://user:password@one:26379,two:26379/NAME/0`` asks Sentinels for the primary called ``NAME``,
with the client's own code (https://redis.io/docs/latest/develop/reference/sentinel-clients/).
``rediss+sentinel`` uses TLS for both. The parameters behind ``?`` are those of ``redis://``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis import ConnectionPool
from redis.connection import parse_url
from redis.sentinel import Sentinel, SentinelConnectionPool

SENTINEL = "+sentinel"
_PORT = 26379


def pool_of(url: str, options: dict[str, Any]) -> ConnectionPool:
    """Return a pool of connections, none of which is open yet.

    :param options: of each connection, unless the URL says otherwise.
    :raises ValueError: the URL cannot be parsed.
    """
    scheme, _, rest = url.partition("://")
    if not scheme.endswith(SENTINEL):
        return ConnectionPool.from_url(url, **options)
    scheme = scheme.removesuffix(SENTINEL)
    # Not by urlsplit: it refuses an IPv6 address behind the first host since Python 3.13.
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    userinfo, _, hosts = netloc.rpartition("@")
    name, _, database = path.strip("/").partition("/")
    if not hosts or not name:
        raise ValueError("a Sentinel URL has hosts and the name of the primary: …://host:26379/NAME/0")
    own: dict[str, Any] = parse_url(  # type: ignore[no-untyped-call]
        f"{scheme}://x/{database or 0}" + (f"?{query}" if query else "")
    )
    own = {key: value for key, value in own.items() if key not in ("host", "connection_class")}
    tls = {"ssl": True} if scheme == "rediss" else {}
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    named = {key: value for key, value in (("username", user), ("password", password)) if value}
    every = {key: value for key, value in {**options, **own, **tls}.items() if key != "max_connections"}
    asking = {key: value for key, value in every.items() if key not in ("db", "health_check_interval")}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")], sentinel_kwargs=asking
    )
    most = options.get("max_connections")
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        name, sentinels, **every, **named, max_connections=most
    )


def _address(host: str) -> tuple[str, int]:
    """:raises ValueError: the port is no number."""
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("a Sentinel URL has a host between its commas")
    return parts.hostname, parts.port or _PORT
