"""Opens the store of shared state that a URL names. Imports ``model`` and ``config`` only.

==================  ==============================================  ==================================
URL                 shared by (while the store fails)               modules
==================  ==============================================  ==================================
``memory://``       one process                                     memory.py
``shared://``       all workers of one machine (one process)        shared_memory.py, robust_mutex.py,
                                                                    shm_table.py
``redis://host/0``  all machines (one machine, with its share)      redis.py, redis_addresses.py
==================  ==============================================  ==================================

``fallback.py`` answers from local state while the store fails.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config.schema import Settings
from .contract import StoreBusy, StoreError, StoreFull
from .store import Store

__all__ = ["StoreBusy", "StoreError", "StoreFull", "open_store", "split_state"]


#: For how long a process may reuse a read from Redis, seconds. Every call reads its breaker, and ten reads a
#: second are enough. Other workers notice an opened or closed breaker by this much later.
REMEMBER = 0.1


def open_store(
    url: str,
    machines: int = 1,
    namespace: str = "",
    counted: Callable[[str], None] = lambda reason: None,
) -> Store:
    """Open the store that ``url`` names. Call it after fork. The returned store raises no ``StoreError``.

    :param machines: how many machines share a Redis. Each allows its share of a limit while Redis is down.
    :param namespace: gateways with the same namespace share state in Redis.
    :param counted: called with ``busy``, ``full`` or ``away`` when local state answers for the store.
    :raises ValueError: the URL is invalid, or needs a package that is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme.removesuffix("+sentinel") in ("redis", "rediss"):
        return _redis(url, machines, namespace, counted)
    if separator and scheme in ("memory", "shared") and not rest:
        return _shared(counted) if scheme == "shared" else _memory()
    # The URL may hold a password, so it is not repeated here.
    raise ValueError(
        "the state URL must be memory://, shared://, redis://host:port/db or rediss://host:port/db"
    )


def split_state(settings: Settings, multiprocess: bool) -> str:
    """The reason why each process keeps its own counts; empty if they share state or there is only one.

    :param multiprocess: the server's ``wsgi.multiprocess`` (PEP 3333).
    """
    from .shared_memory import is_alone

    kind = settings.state.partition(":")[0]
    if not multiprocess or not (kind == "memory" or (kind == "shared" and is_alone())):
        return ""
    return (
        "each process of this server counts for itself. Start it with "
        "`gunicorn -c gunicorn.conf.py wsgi:app`, or set GATEWAY_STATE to a redis:// URL, or run one process"
    )


def _memory() -> Store:
    from .memory import MemoryStore

    return MemoryStore()


def _shared(counted: Callable[[str], None]) -> Store:
    from . import shared_memory
    from .fallback import FallbackStore, UnavailableStore

    try:
        primary: Store = shared_memory.SharedStore()
    except StoreError as error:
        primary = UnavailableStore(str(error))
    # While the shared memory fails, each worker counts alone, so each allows its share.
    return FallbackStore(primary, _memory(), shared_memory.workers(), counted=counted)


def _redis(url: str, machines: int, namespace: str, counted: Callable[[str], None]) -> Store:
    try:
        import redis  # noqa: F401 - alone in the try, so that no other failed import looks like this one
    except ImportError:
        raise ValueError(
            "a redis:// state URL needs the redis package; in a clone: .venv/bin/pip install '.[redis]'"
        ) from None
    from .fallback import FallbackStore
    from .redis import RedisStore
    from .together import TogetherStore

    primary = RedisStore(url, REMEMBER, namespace)
    fallback = FallbackStore(primary, _shared(counted), machines, confirms=True, counted=counted)
    return TogetherStore(fallback)
