"""What must not be served: settings that are right by themselves, but not with this server."""

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

    :param binds: addresses as gunicorn takes them, also several in one with commas.
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
    open_to_others = (one for bind in binds for one in bind.split(",") if not _is_local(one.strip()))
    address = next(open_to_others, None)
    if guessable and address is not None:
        raise ConfigError(
            dotted("keys", guessable[0]),
            MASK,
            f"a key of at least {GUESSABLE_KEY} characters while others can connect to {address.strip()}",
            "`openssl rand -hex 32` makes a good one",
        )


def workers_of(server: Mapping[str, object], environ: Mapping[str, str]) -> int:
    """How many workers ``gunicorn.conf.py`` starts: so many as are set, by us or by the platform, or one per
    core that may be used."""
    if server["workers"] is not None:
        return int(str(server["workers"]))
    of_platform = environ.get("WEB_CONCURRENCY", "")
    if of_platform.isdecimal() and int(of_platform):
        return int(of_platform)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_split_state(settings: Settings, workers: int) -> None:
    """Raise :class:`ConfigError` when several processes would each count for themselves."""
    if settings.state.startswith("memory://") and workers > 1:
        raise ConfigError(
            PREFIX + "STATE",
            settings.state,
            f"state that {workers} workers can share",
            "leave it unset for shared://, or set GATEWAY_WORKERS to 1",
        )


def _is_local(address: str) -> bool:
    """Whether only this machine can connect; in doubt it is not so."""
    if address.startswith(("unix:", "fd://")):
        return True
    match = _HOST.fullmatch(address)
    if match is None:
        return False
    host = match["plain"] if match["bracketed"] is None else match["bracketed"]
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 calls ::ffff:127.0.0.1 loopback, earlier ones do not.
    return found.is_loopback and getattr(found, "ipv4_mapped", None) is None
