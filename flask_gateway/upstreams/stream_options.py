"""Learns whether an upstream takes ``stream_options``, the field that asks for the usage of a stream.

Some servers refuse a field that they do not know. A caller who has not sent the field must not see that
refusal. So the gateway repeats the first refused call without the field, and does not send it to this
upstream any more. The workers share what they have learned.
"""

from __future__ import annotations

import logging
from enum import Enum
from zlib import crc32

import msgspec

from ..dialects.openai import envelope
from ..model.errors import GatewayError, UpstreamError, UpstreamRefusal, UpstreamThrottled, UpstreamTooLong
from ..state.store import Store, Value, state_key

log = logging.getLogger(__name__)

#: How long a refusal is remembered, seconds. Servers get updated.
REMEMBERED = 7 * 24 * 3600.0
#: A refusal of the field contains one of these.
_NAMES = (b"stream_options", b"include_usage", b"streamOptions", b"stream options")
#: Statuses of a refusal that may be about the field, although it does not name it.
_ABOUT_FIELDS = frozenset({400, 415, 422})


class _Known(Enum):
    NOTHING = "nothing"
    TAKES = "takes"
    REFUSES = "refuses"


def names_stream_options(text: bytes) -> bool:
    return any(name in text for name in _NAMES)


class StreamOptions:
    """Remembers whether one upstream takes ``stream_options``. Shared by the threads of a process.

    :param url: the upstream's URL. Facts about another URL do not count.
    :param store: shared by the workers; ``None`` shares nothing.
    """

    def __init__(self, upstream: str, url: str, store: Store | None = None) -> None:
        self.upstream = upstream
        self._mark = crc32(url.encode())
        self._store = store
        self._known = _Known.NOTHING

    @property
    def are_refused(self) -> bool:
        if self._known is _Known.NOTHING and self._is_remembered():
            self._known = _Known.REFUSES
        return self._known is _Known.REFUSES

    @property
    def are_proven(self) -> bool:
        """Whether the upstream has answered a stream that asked for its usage."""
        return self._known is _Known.TAKES

    def prove(self) -> None:
        self._known = _Known.TAKES

    def are_named(self, error: GatewayError) -> bool:
        """Whether the upstream's words name them. Those of a 5xx are not in the error's message."""
        if isinstance(error, UpstreamError) and error.names_stream_options:
            return True
        return names_stream_options(msgspec.json.encode(envelope(error)))

    def may_be_meant(self, error: GatewayError) -> bool:
        """Whether the error may be about them: it names them, or refuses a field while nothing is known."""
        if self.are_named(error):
            return True
        other = isinstance(error, UpstreamTooLong | UpstreamThrottled)
        refused = isinstance(error, UpstreamRefusal) and error.status in _ABOUT_FIELDS
        return refused and not other and self._known is _Known.NOTHING

    def refuse(self) -> None:
        """Remember that the upstream refuses them."""
        if self._known is _Known.REFUSES:
            return
        self._known = _Known.REFUSES
        log.warning(
            "upstream '%s' refuses stream_options: it is not asked for the usage of streams any more, "
            "which is estimated; `stream_usage = false` in its table says so from the start",
            self.upstream,
        )
        if self._store is not None:
            value: Value = (self._mark,)
            self._store.update(self._key, lambda old, now: (value, None), REMEMBERED)

    def _is_remembered(self) -> bool:
        return self._store is not None and self._store.read(self._key) == (self._mark,)

    @property
    def _key(self) -> str:
        return state_key("stream-options", self.upstream)
