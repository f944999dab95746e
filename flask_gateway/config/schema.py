"""The settings as the gateway uses them: frozen types. Nothing here reads or parses (see ``settings/``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ..model.call import Continues

#: What stands in any output where a secret would.
MASK = "****"

#: scheme, userinfo, the rest up to the query, the query or fragment; at most one ``@``, in its place.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?([^@/?#]*@)?([^@?#]*)([?#][^@]*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def mask_url(url: str) -> str:
    """The URL with its userinfo and its query hidden, also when it is no proper URL."""
    match = _URL.fullmatch(url)
    if match is None:
        scheme = _SCHEME.match(url)
        return (scheme.group() if scheme else "") + MASK
    scheme_part, userinfo, rest, query = match.groups(default="")
    return scheme_part + (f"{MASK}@" if userinfo else "") + rest + (f"{query[0]}{MASK}" if query else "")


class Secret:
    """A value that no repr, log line or traceback shows. ``reveal()`` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"


class Authorities(msgspec.Struct, frozen=True):
    """Certificate authorities by which upstreams are verified, instead of the public ones.

    :param files: the paths of those that they were read from.
    :param pem: their certificates, as they were read.
    :param folders: directories of certificates named by their hashes, in which OpenSSL looks them up.
    """

    files: tuple[str, ...] = ()
    pem: str = ""
    folders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.files + self.folders)

    def __repr__(self) -> str:
        return f"Authorities({self})"


class Timeouts(msgspec.Struct, frozen=True):
    """How long an upstream may take, seconds. ``docs/time.md`` says what each of them bounds.

    :param connect: until there is a connection.
    :param first_byte: until the head of a stream is complete.
    :param first_token: until a stream's first content.
    :param idle: from one part of a stream to the next.
    :param answer: until the end of an answer in one piece, which takes as long as its generation.
    :param total: until the end of any answer.
    """

    connect: float = 5.0
    first_byte: float = 10.0
    first_token: float = 15.0
    idle: float = 10.0
    answer: float = 120.0
    total: float = 600.0

    @classmethod
    def within(cls, silence: float, answer: float = 120.0) -> Timeouts:
        """The clocks of an upstream that has none of its own, from the two general settings.

        :param silence: the longest silence of a stream. :param answer: for an answer in one piece.
        """
        usual = cls()
        return cls(
            connect=min(usual.connect, silence),
            first_byte=silence,
            first_token=max(usual.first_token, silence),
            idle=silence,
            answer=answer,
            total=max(usual.total, silence, answer),
        )

    def with_own(self, own: Mapping[str, float]) -> Timeouts:
        """These clocks with some of them replaced. ``total`` is never shorter than an ``answer`` that is set
        without it.

        :param own: seconds by clock.
        """
        clocks = msgspec.structs.replace(self, **own)
        if "answer" in own and "total" not in own:
            clocks = msgspec.structs.replace(clocks, total=max(clocks.total, clocks.answer))
        return clocks


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One server that answers calls.

    :param url: ``mock://…``, or an ``http(s)`` base to which ``/chat/completions`` is appended.
    :param api_key: sent upstream as Bearer.
    :param max_in_flight: calls under way at once over all workers; 0 means without limit.
    :param stream_usage: whether it can be asked for the usage of a stream.
    :param continues: how it is told to go on with an answer that another has begun; ``None``: it cannot.
    :param ca_file: by which its certificate is checked; ``None``: by the public authorities.
    :param clocks: ``None`` derives them from ``request_timeout_seconds`` and ``answer_timeout_seconds``.
    :param list_models: whether it is asked in the background which models it has.
    """

    name: str
    url: str
    api_key: Secret | None = None
    max_in_flight: int = 0
    stream_usage: bool = True
    continues: Continues | None = None
    ca_file: Authorities | None = None
    clocks: Timeouts | None = None
    list_models: bool = False


class CandidateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a model can be asked.

    :param model: the name the upstream knows it by.
    :param weight: its share within its tier, against the others' weights.
    :param max_in_flight: calls of this model under way there at once; 0 means without limit.
    :param clocks: in seconds by their names in :class:`Timeouts`, where they are not the upstream's.
    """

    upstream: str
    model: str
    weight: int = 1
    max_in_flight: int = 0
    clocks: Mapping[str, float] = {}


class Balance(StrEnum):
    """Which candidate of a tier is asked first; the others follow when it cannot answer."""

    IN_ORDER = "in_order"
    IN_TURN = "in_turn"
    LEAST_BUSY = "least_busy"


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A model by the name that callers use.

    :param tiers: candidates in groups: a later group is asked when an earlier one cannot answer.
    :param whole: whether its streams are held back until they are complete.
    """

    name: str
    tiers: tuple[tuple[CandidateSettings, ...], ...]
    balance: Balance = Balance.IN_TURN
    whole: bool = False

    @property
    def upstream(self) -> str:
        """Of its first candidate."""
        return self.tiers[0][0].upstream

    @property
    def model(self) -> str:
        """What its first candidate calls it."""
        return self.tiers[0][0].model


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One caller's key, kept as the SHA-256 digest of it only.

    :param id: what logs and status pages call it.
    :param rate_limit_per_minute: overrides the general limit; 0 means without limit.
    :param models: the models it may name, ``*`` standing for any text; ``None`` means every model.
    :param length: in characters; ``None`` when only its digest is known.
    """

    id: str
    digest: bytes
    rate_limit_per_minute: int | None = None
    models: frozenset[str] | None = None
    length: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the gateway is told. Times are seconds, sizes bytes.

    :param state: may carry a password; show it through :func:`mask_url` only.
    :param state_namespace: part of every key in Redis; gateways with different ones share nothing.
    :param machines: how many gateways share one Redis; each takes this share when Redis is down.
    :param config: the path of the file that they come from; ``None``: they come from none.
    """

    keys: tuple[KeySettings, ...]
    upstreams: tuple[UpstreamSettings, ...]
    models: tuple[ModelSettings, ...] = ()
    #: By the name that callers use: where to ask when the model's own route cannot answer.
    fallbacks: Mapping[str, tuple[CandidateSettings, ...]] = {}
    default_upstream: str | None = None
    rate_limit_per_minute: int = 60
    max_concurrent_per_key: int = 0
    failed_keys_per_minute: int = 60
    circuit_breaker_max_failures: int = 5
    circuit_breaker_reset_seconds: float = 30.0
    circuit_breaker_successes: int = 1
    circuit_breaker_slow_seconds: float = 0.0
    request_timeout_seconds: float = 10.0
    answer_timeout_seconds: float = 120.0
    #: For the upstreams that have none of their own.
    ca_file: Authorities | None = None
    max_body_bytes: int = 16 * 1024 * 1024
    body_memory_bytes: int = 256 * 1024 * 1024
    max_streams: int = 2000
    stream_buffer_bytes: int = 256 * 1024
    send_timeout_seconds: float = 30.0
    state: str = "shared://"
    state_namespace: str | None = None
    machines: int = 1
    log: str = "json"
    #: Whether log lines show the beginning of prompts: ``on`` or ``off``.
    log_prompts: str = "off"
    #: The origins whose pages may call from a browser; ``*`` among them means all.
    cors_origins: tuple[str, ...] = ()
    #: SHA-256 of the key that ``/metrics`` asks for; without one only this machine may read it.
    metrics_digest: bytes | None = None
    config: str | None = None
    #: Things to tell the operator at start-up that are no reason to refuse.
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["state"] = mask_url(self.state)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
