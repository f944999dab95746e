"""Defines the settings as frozen types, with the default of each.

This module reads and parses nothing: ``load.py`` does. ``options.py`` takes the defaults from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from ..model.call import OPENAI, Continues, Operation
from ..model.limits import NO_OWNER_LIMITS, OwnerLimits
from ..model.price_override import PriceOverride
from ..model.quirks import Quirks
from ..model.raw_path import RawPath
from .admins import AdminSettings
from .cache_settings import CacheSettings, ModelCache
from .kinds import DEFAULT, KINDS, KeyCommand, Kind
from .timeouts import ANSWER_SECONDS, SILENCE_SECONDS
from .timeouts import Timeouts as Timeouts  # passed on
from .traces import TraceSettings

#: Replaces a secret in every output.
MASK = "****"

#: scheme, userinfo, the rest up to the query, the query or fragment; at most one ``@``, after the userinfo.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?([^@/?#]*@)?([^@?#]*)([?#][^@]*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def mask_url(url: str) -> str:
    """Return the URL with its userinfo and query masked. Malformed URLs are masked too."""
    match = _URL.fullmatch(url)
    if match is None:
        scheme = _SCHEME.match(url)
        return (scheme.group() if scheme else "") + MASK
    scheme_part, userinfo, rest, query = match.groups(default="")
    return scheme_part + (f"{MASK}@" if userinfo else "") + rest + (f"{query[0]}{MASK}" if query else "")


class Secret:
    """Holds a value that no repr, log line or traceback shows. Only ``reveal()`` returns it."""

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
    """The certificate authorities that verify upstreams, instead of the public ones.

    :param files: the paths of the files that were read.
    :param pem: the certificates of those files, as read.
    :param folders: directories of certificates named by their hashes. OpenSSL searches them.
    """

    files: tuple[str, ...] = ()
    pem: str = ""
    folders: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.files + self.folders)

    def __repr__(self) -> str:
        return f"Authorities({self})"


class ClientCertificate(msgspec.Struct, frozen=True):
    """The certificate that the gateway shows to upstreams that ask for one (mutual TLS).

    :param files: the paths of the files that were read.
    :param pem: the certificate, its chain and its private key in PEM.
    """

    files: tuple[str, ...]
    pem: Secret

    def __str__(self) -> str:
        return self.files[0]


class Proxy(msgspec.Struct, frozen=True):
    """A proxy between the gateway and upstreams.

    :param scheme: ``http``, ``https``, ``socks5`` (resolves names here) or ``socks5h`` (at the proxy); or
        one of the two instructions: ``none``, and ``environment`` for ``HTTPS_PROXY`` and its kin.
    :param credentials: ``user:password``, without percent-encoding.
    """

    scheme: str
    host: str = ""
    port: int = 0
    credentials: Secret | None = None

    def __str__(self) -> str:
        if not self.host:
            return self.scheme
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{f'{MASK}@' if self.credentials else ''}{host}:{self.port}"


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One server that answers calls.

    :param url: ``mock://…``, or an ``http(s)`` or ``http+unix`` base of ``/chat/completions``.
    :param api_key: sent to the upstream, in the header of its kind; ``key_command`` prints one instead.
    :param max_in_flight: the limit of calls in flight over all workers; 0 means no limit.
    :param stream_usage: whether the upstream accepts a request for the usage of a stream.
    :param continues: how to make the upstream resume a partial answer; ``None``: it cannot.
    :param ca_file: the authorities that verify its certificate; ``None``: the public ones.
    :param client_cert: shown to an upstream that asks for a certificate; ``None``: there is none.
    :param proxy: the proxy on the way to it; ``None``: the gateway connects directly.
    :param clocks: ``None`` derives them from ``request_timeout_seconds`` and ``answer_timeout_seconds``.
    :param list_models: whether the gateway lists the upstream's models in the background.
    :param prices: the provider whose prices it has, or ``free``; ``None``: its URL says.
    :param provider: its name in traces; ``None``: its URL says.
    :param kind: a name in ``kinds.KINDS``. :param quirks: ``None``: those of its kind.
    :param speaks: its operations; ``None``: those of its kind. :param raw: paths that callers may ask for.
    """

    name: str
    url: str
    api_key: Secret | None = None
    key_command: KeyCommand | None = None
    max_in_flight: int = 0
    stream_usage: bool = True
    continues: Continues | None = None
    ca_file: Authorities | None = None
    client_cert: ClientCertificate | None = None
    proxy: Proxy | None = None
    clocks: Timeouts | None = None
    list_models: bool = False
    prices: str | None = None
    provider: str | None = None
    kind: str = DEFAULT
    speaks: frozenset[Operation] | None = None
    quirks: Quirks | None = None
    raw: tuple[RawPath, ...] = ()

    @property
    def of_kind(self) -> Kind:
        return KINDS[self.kind]

    @property
    def operations(self) -> frozenset[Operation]:
        """The operations that it takes. The mock takes OpenAI's."""
        if self.url.startswith("mock:"):
            return frozenset(OPENAI)
        return frozenset(self.of_kind.speaks) if self.speaks is None else self.speaks


class CandidateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream and a model of it that can answer a call.

    :param model: the upstream's name of the model.
    :param weight: the candidate's share of its tier, relative to the other weights.
    :param max_in_flight: the limit of calls of this model in flight at the upstream; 0 means no limit.
    :param max_output_tokens: the longest answer of the model, tokens (``model.quirks``); 0: the upstream's.
    :param clocks: seconds by their names in :class:`Timeouts`, where they differ from the upstream's.
    :param set: fields of the body as JSON, by name. They replace the caller's.
    :param default: fields of the body as JSON, for callers who do not send them.
    :param price: of the model there; ``None``: the one in the tables of prices.
    """

    upstream: str
    model: str
    weight: int = 1
    max_in_flight: int = 0
    max_output_tokens: int = 0
    clocks: Mapping[str, float] = {}
    set: Mapping[str, bytes] = {}
    default: Mapping[str, bytes] = {}
    price: PriceOverride | None = None


#: Earlier names of balance policies. The file may use them, with a warning.
FORMER_BALANCE = {"in_turn": "round_robin", "least_busy": "least_requests"}


class Balance(StrEnum):
    """Which candidate of a tier comes first. The others follow when it cannot answer."""

    IN_ORDER = "in_order"
    ROUND_ROBIN = "round_robin"
    LEAST_REQUESTS = "least_requests"

    @classmethod
    def _missing_(cls, value: object) -> Balance | None:
        """Accept an earlier name, also from settings that a worker with older code has saved."""
        name = FORMER_BALANCE.get(value) if isinstance(value, str) else None
        return None if name is None else cls(name)


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A model by the name that callers use.

    :param tiers: groups of candidates. The gateway tries a tier when the tiers before it cannot answer.
    :param whole: whether the gateway buffers its streams until they are complete.
    :param aliases: further names for it. A key that may call the model may call it by these names.
    """

    name: str
    tiers: tuple[tuple[CandidateSettings, ...], ...]
    balance: Balance = Balance.ROUND_ROBIN
    whole: bool = False
    aliases: tuple[str, ...] = ()
    cache: ModelCache = ModelCache()

    @property
    def upstream(self) -> str:
        """The upstream of the first candidate."""
        return self.tiers[0][0].upstream

    @property
    def model(self) -> str:
        """The first candidate's name of the model."""
        return self.tiers[0][0].model


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One caller's key, kept only as its SHA-256 digest.

    :param id: the name of the key in logs and status pages.
    :param rate_limit_per_minute: overrides the general limit; 0 means no limit.
    :param models: the models that the key may call, ``*`` matching any text; ``None`` means every model.
    :param length: the length of the key, characters; ``None`` when only its digest is known.
    :param max_concurrent: overrides the general limit; 0 means no limit.
    :param team: the name of its team, empty if it has none.
    :param tags: for reports.
    :param policy: its limits of tokens and money, by model and by end user.
    """

    id: str
    digest: bytes
    rate_limit_per_minute: int | None = None
    models: frozenset[str] | None = None
    length: int | None = None
    max_concurrent: int | None = None
    team: str = ""
    tags: Mapping[str, str] = {}
    policy: OwnerLimits = NO_OWNER_LIMITS


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin (``plugin.py``) that the settings name.

    :param use: the name of an entry point, or ``module:name``.
    :param models: the names of models that it is for, ``*`` matching any text; ``None``: all.
    :param keys: the names of keys that it is for; ``None``: all.
    :param on_error: ``refuse`` or ``pass``; ``None``: ``pass`` for observers, ``refuse`` for others.
    :param budget_ms: how long one use may take, milliseconds; ``None``: any time.
    :param options: arguments of its constructor. :param secrets: those whose values are in variables.
    """

    name: str
    use: str
    models: frozenset[str] | None = None
    keys: frozenset[str] | None = None
    on_error: Literal["refuse", "pass"] | None = None
    budget_ms: float | None = None
    options: Mapping[str, Any] = {}
    secrets: Mapping[str, Secret] = {}


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger, and the windows of budgets.

    :param data: the directory of keys and ledger; ``None``: neither. :param database: of several machines.
    :param timezone: of windows and reports. :param week_starts: 0 for Monday to 6 for Sunday.
    :param webhook: the URL to which alerts are posted. :param webhook_secret: signs them.
    :param alerts: shares of a budget. :param tell_cost: whether answers carry what they cost.
    :param keep_days: days that single charges are kept. :param users: kept as ``names`` or as ``digest``.
    """

    data: str | None = None
    timezone: str = "UTC"
    week_starts: int = 0
    alerts: tuple[float, ...] = (0.8, 1.0)
    tell_cost: bool = True
    keep_days: int = 30
    users: str = "names"
    webhook: Secret | None = None
    webhook_secret: Secret | None = None
    database: Secret | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, each with its default. Times are in seconds, sizes in bytes.

    :param state: may carry a password; show it through :func:`mask_url` only.
    :param state_namespace: part of every key in Redis. Gateways with different namespaces share nothing.
    :param machines: how many gateways share one Redis. While Redis is down, each allows its share.
    :param config: the path of the settings file; ``None``: there is no file.
    """

    keys: tuple[KeySettings, ...]
    upstreams: tuple[UpstreamSettings, ...]
    models: tuple[ModelSettings, ...] = ()
    #: By the name that callers use: further candidates, for when the model's own route cannot answer.
    fallbacks: Mapping[str, tuple[CandidateSettings, ...]] = {}
    teams: Mapping[str, OwnerLimits] = {}  # their limits, by name
    #: The limits of all calls together, and of all calls of a model.
    limits: OwnerLimits = NO_OWNER_LIMITS
    ledger: LedgerSettings = LedgerSettings()
    prices: Mapping[str, PriceOverride] = {}  # by ``upstream/model``
    default_upstream: str | None = None
    #: The names without a model of their own that reach an upstream, ``*`` matching any text.
    unlisted_models: tuple[str, ...] = ("*",)
    rate_limit_per_minute: int = 60
    max_concurrent_per_key: int = 0
    failed_keys_per_minute: int = 60
    circuit_breaker_max_failures: int = 5
    circuit_breaker_reset_seconds: float = 30.0
    circuit_breaker_successes: int = 1
    circuit_breaker_slow_seconds: float = 0.0
    request_timeout_seconds: float = SILENCE_SECONDS
    answer_timeout_seconds: float = ANSWER_SECONDS
    #: For the upstreams that set no authorities themselves.
    ca_file: Authorities | None = None
    #: For the upstreams that set no client certificate themselves; ``client_key`` is the key file's path.
    client_cert: ClientCertificate | None = None
    client_key: str | None = None
    #: For the upstreams that set no proxy themselves, except those that ``no_proxy`` names.
    proxy: Proxy | None = None
    no_proxy: tuple[str, ...] = ()
    max_body_bytes: int = 16 * 1024 * 1024
    body_memory_bytes: int = 256 * 1024 * 1024
    max_upload_bytes: int = 32 * 1024 * 1024
    upload_space_bytes: int = 2 * 1024 * 1024 * 1024
    upload_dir: str | None = None
    max_streams: int = 2000
    stream_buffer_bytes: int = 256 * 1024
    send_timeout_seconds: float = 30.0
    session_idle_seconds: float = 900.0
    session_seconds: float = 3600.0
    state: str = "shared://"
    state_namespace: str | None = None
    machines: int = 1
    log: str = "json"
    log_prompts: bool = False  # whether log lines show the beginning of prompts
    #: Seconds from which on a request always becomes a trace; 0: never for that reason.
    trace_slow_seconds: float = 30.0
    traces: TraceSettings | None = None  # where they go; ``None``: there are none
    cache: CacheSettings = CacheSettings()
    plugins: tuple[PluginSettings, ...] = ()  # in the order in which they are asked
    #: The origins whose pages may call from a browser; ``*`` among them means all.
    cors_origins: tuple[str, ...] = ()
    #: Other gateways whose response headers and request fields are understood: ``litellm``.
    compat: tuple[str, ...] = ()
    #: SHA-256 of the key that ``/metrics`` requires; without one only this machine may read it.
    metrics_digest: bytes | None = None
    #: The admins of ``/admin/v1``; without one there is no such path.
    admins: tuple[AdminSettings, ...] = ()
    config: str | None = None
    #: Shown to the operator at start. They do not stop it.
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["state"] = mask_url(self.state)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
