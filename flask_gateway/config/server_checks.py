"""Refuses valid settings that are unsafe with this server's addresses or number of workers."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping

from .errors import ConfigError, dotted
from .options import API_KEYS, PREFIX
from .schema import MASK, Settings
from .secrets import DEV_KEY, DEV_KEY_DIGEST, GUESSABLE_KEY

_HOST = re.compile(r"(?:tcp://)?(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]*))(?::\d*)?")


def refuse_exposed_dev_key(settings: Settings, binds: Iterable[str]) -> None:
    """Raise :class:`ConfigError` when ``dev-key`` is among the keys and other machines can connect.

    :param binds: addresses in gunicorn's syntax; one text may hold several, separated by commas.
    """
    if not any(key.digest == DEV_KEY_DIGEST for key in settings.keys):
        return
    for bind in binds:
        for address in bind.split(","):
            if not _is_local(address.strip()):
                raise ConfigError(
                    PREFIX + "BIND",
                    address.strip(),
                    f"an address of this machine only while {DEV_KEY!r} is among the keys",
                    f"set {API_KEYS.variable} to keys of your own",
                )


def refuse_exposed_short_keys(settings: Settings, binds: Iterable[str]) -> None:
    """Raise :class:`ConfigError` when a key can be guessed within minutes and other machines can connect.

    :param binds: as for :func:`refuse_exposed_dev_key`.
    """
    guessable = [
        key.id
        for key in settings.keys
        if key.length is not None and key.length < GUESSABLE_KEY and key.digest != DEV_KEY_DIGEST
    ]
    addresses = (address for bind in binds for address in bind.split(","))
    address = next((address for address in addresses if not _is_local(address.strip())), None)
    if guessable and address is not None:
        raise ConfigError(
            dotted("keys", guessable[0]),
            MASK,
            f"a key of at least {GUESSABLE_KEY} characters while others can connect to {address.strip()}",
            "`openssl rand -hex 32` makes a good one",
        )


def workers_of(server: Mapping[str, object], environ: Mapping[str, str]) -> int:
    """The number of workers that ``gunicorn.conf.py`` starts.

    ``GATEWAY_WORKERS`` comes first, then the platform's ``WEB_CONCURRENCY``, then one per usable core.
    """
    if server["workers"] is not None:
        return int(str(server["workers"]))
    of_platform = environ.get("WEB_CONCURRENCY", "")
    if of_platform.isdecimal() and int(of_platform):
        return int(of_platform)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_split_state(settings: Settings, workers: int) -> None:
    """Raise :class:`ConfigError` when several processes would each keep their own counts."""
    if settings.state.startswith("memory://") and workers > 1:
        raise ConfigError(
            PREFIX + "STATE",
            settings.state,
            f"state that {workers} workers can share",
            "leave it unset for shared://, or set GATEWAY_WORKERS to 1",
        )


def _is_local(address: str) -> bool:
    """Whether only this machine can connect. Unknown forms count as reachable by others."""
    if address.startswith(("unix:", "fd://")):
        return True
    match = _HOST.fullmatch(address)
    if match is None:
        return False
    host = match["plain"] if match["bracketed"] is None else match["bracketed"]
    if host.lower() == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 calls ::ffff:127.0.0.1 loopback, earlier versions do not.
    return parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None
