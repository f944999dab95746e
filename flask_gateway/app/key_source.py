"""Chooses where a gateway finds its callers. Without a data directory nothing of issued keys is imported."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from ..auth.api_keys import identify, keys_of
from ..auth.lockout import FurtherCallers, KeyGuessLimiter
from ..config.schema import Settings
from ..guards.inflight import InFlightCalls
from ..model.errors import KeyRevoked
from ..model.protocols import KeySource
from ..state.store import Store
from ..telemetry.metrics import KeyLabels

if TYPE_CHECKING:
    from ..auth.issued_keys import IssuedKeys

#: The names of keys in the metrics of this process, which last as long as its series.
LABELS = KeyLabels(())


def issued_keys(settings: Settings, store: Store, inflight: InFlightCalls) -> IssuedKeys | None:
    """The issued keys of the data directory, which a process keeps over reloads; ``None`` without one."""
    if settings.ledger.data is None:
        return None
    from ..auth.issued_keys import IssuedKeys
    from ..auth.key_places import key_store_of

    def end(callers: Collection[str]) -> None:
        inflight.end(lambda: KeyRevoked("The operator has revoked the API key of this call."), callers)

    keys = key_store_of(settings.ledger, store)
    return IssuedKeys(keys, store, end, always=bool(settings.admins))


def key_source(settings: Settings, issued: IssuedKeys | None) -> KeySource:
    """The keys of the settings, with the issued ones where there are some."""
    fixed = keys_of(settings)
    if issued is None:
        return fixed
    from ..auth.live_keys import LiveKeys

    return LiveKeys(fixed, issued, settings)


def key_labels(settings: Settings, issued: IssuedKeys | None) -> KeyLabels | None:
    """The names of keys in metrics; ``None`` where each has its own.

    Plugins may know any number of callers.
    """
    fixed = issued is None and not settings.plugins
    return None if fixed else LABELS.change(key.id for key in settings.keys)


def key_guess_limiter(
    settings: Settings, keys: KeySource, store: Store, others: FurtherCallers | None
) -> KeyGuessLimiter:
    """Identifies callers by those keys, and counts wrong keys of an address.

    :param others: the callers that plugins know; ``None``: there are none.
    """
    limit = settings.failed_keys_per_minute
    return KeyGuessLimiter(partial(identify, keys), store, limit, keys.seed, others)
