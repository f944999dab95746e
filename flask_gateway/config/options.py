"""Declares every setting once: its name, type, unit, bounds, default, scope and description.

``schema.py`` has the defaults of the values in ``Settings``, ``server_defaults.py`` those of the server. This
table takes them from there. Loading, ``check`` and the messages follow this table. Tests hold the documents
equal to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec

from . import server_defaults
from .proxy_url import NoProxy, ProxyUrl
from .route_syntax import Fallbacks
from .schema import Settings, UpstreamSettings
from .secrets import (
    DEV_KEY,
    SHORTEST_ADMIN_KEY,
    USABLE_KEY,
    AdminKey,
    Forbidden,
    Key,
    KeyList,
    SecretPath,
    Variable,
)
from .value_types import (
    UPSTREAM_NAME,
    Addresses,
    CorsOrigins,
    Folder,
    Name,
    NamePatterns,
    Names,
    OneOf,
    Seconds,
    StateUrl,
    Switch,
    TextLine,
    UpstreamList,
    ValueType,
    WholeNumber,
)

PREFIX = "GATEWAY_"


class Scope(StrEnum):
    """Where a setting may be set."""

    FILE = "environment or file"
    ENVIRONMENT = "environment"
    #: Only in the environment: ``gunicorn.conf.py`` reads it before the settings are loaded.
    SERVER = "environment, for the server"


class Option(msgspec.Struct, frozen=True):
    """One setting.

    :param name: its name in the file and in :class:`~flask_gateway.config.schema.Settings`, in lower case.
    :param kind: its type with unit and bounds.
    :param default: as text of the environment; ``None`` if the default is not a fixed value.
    :param description: what it sets, in one sentence.
    """

    name: str
    kind: ValueType
    default: str | None
    description: str
    scope: Scope = Scope.FILE

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def in_file(self) -> bool:
        """Whether the file may set it under this name."""
        return self.scope is Scope.FILE


def written(value: Any) -> str:
    """A value as the environment would write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@cache
def _defaults(settings: type[msgspec.Struct]) -> dict[str, Any]:
    """The defaults by name. To ask msgspec takes a millisecond: it evaluates all types."""
    return {field.name: field.default for field in msgspec.structs.fields(settings)}


def _default(settings: type[msgspec.Struct], name: str) -> str | None:
    value = _defaults(settings)[name]
    return None if value is None else written(value)


def _setting(name: str, kind: ValueType, description: str) -> Option:
    """A value of ``Settings``, with its default there."""
    return Option(name, kind, _default(Settings, name), description)


def _count(what: str, low: int = 1, high: int = 10_000_000) -> WholeNumber:
    return WholeNumber(f"a whole number of {what}, at least {low}", low, high)


def _limit(what: str) -> WholeNumber:
    return WholeNumber(f"a whole number of {what}, 0 for unlimited")


_LEVELS = ("debug", "info", "warning", "error", "critical")
_CALLS = _limit("calls at once")
_SECONDS = Seconds("a number of seconds above 0")

CA_FILE = _setting(
    "ca_file",
    TextLine("the path of a file of CA certificates in PEM"),
    "CA certificates in PEM that verify upstreams",
)

CLIENT_CERT = _setting(
    "client_cert",
    TextLine("the path of a file with a certificate in PEM, its chain, and perhaps its key"),
    "the certificate that the gateway shows to upstreams",
)
CLIENT_KEY = _setting(
    "client_key",
    TextLine("the path of a file with a private key in PEM, not encrypted"),
    "the key of that certificate, if it is in a file of its own",
)
PROXY = _setting(
    "proxy",
    ProxyUrl("http://, https://, socks5:// or socks5h:// with host:port, or none, or environment"),
    "the proxy on the way to upstreams",
)
NO_PROXY = _setting(
    "no_proxy",
    NoProxy("hosts, domains, addresses or networks separated by commas"),
    "upstream hosts that are reached without the proxy",
)

#: The settings with one value each that end up in ``Settings`` under the same name.
SCALARS = (
    _setting("rate_limit_per_minute", _limit("requests per minute"), "requests of one key in any 60 seconds"),
    _setting("max_concurrent_per_key", _CALLS, "calls of one key in flight"),
    _setting(
        "failed_keys_per_minute",
        _limit("failed keys per minute"),
        "wrong keys of one address in any 60 seconds before it gets 429",
    ),
    _setting(
        "circuit_breaker_max_failures", _count("failures"), "consecutive failures that open a circuit breaker"
    ),
    _setting("circuit_breaker_reset_seconds", _SECONDS, "seconds from opening to the first probe"),
    _setting("circuit_breaker_successes", _count("successes"), "consecutive successful probes that close it"),
    _setting(
        "circuit_breaker_slow_seconds",
        Seconds("a number of seconds, 0 for never", 0.0),
        "seconds after which a call counts as slow",
    ),
    _setting("request_timeout_seconds", _SECONDS, "the longest silence of a stream, seconds"),
    _setting("answer_timeout_seconds", _SECONDS, "the longest time for an answer in one piece, seconds"),
    CA_FILE,
    CLIENT_CERT,
    CLIENT_KEY,
    PROXY,
    NO_PROXY,
    _setting("default_upstream", Name(UPSTREAM_NAME), "the upstream of models that no other rule places"),
    _setting(
        "unlisted_models",
        NamePatterns("names separated by commas, * for any text, such as openai/*; or none"),
        "the names without a table that may reach an upstream",
    ),
    _setting("max_body_bytes", _count("bytes", 1, 1 << 40), "the largest request body, bytes"),
    _setting(
        "body_memory_bytes", _count("bytes", 1, 1 << 40), "memory for request bodies in one worker, bytes"
    ),
    _setting("max_upload_bytes", _count("bytes", 1, 1 << 40), "the largest form with files, bytes"),
    _setting("upload_space_bytes", _count("bytes", 1, 1 << 50), "disk space for forms in one worker, bytes"),
    _setting(
        "upload_dir",
        Folder("an existing folder, by its full path"),
        "where forms are stored while they are sent",
    ),
    _setting("max_streams", _count("streams", 1, 1_000_000), "streams in flight in one worker"),
    _setting(
        "stream_buffer_bytes", _count("bytes", 1, 1 << 30), "bytes of a stream that wait for a slow caller"
    ),
    _setting("session_idle_seconds", _SECONDS, "seconds without a byte that end a WebSocket session"),
    _setting("session_seconds", _SECONDS, "seconds that a WebSocket session may last"),
    _setting("send_timeout_seconds", _SECONDS, "seconds that a caller may take nothing of its stream"),
    _setting(
        "state",
        StateUrl("memory://, shared://, redis://host:port/0 or rediss://host:port/0"),
        "the store of limits and circuit breakers",
    ),
    _setting("state_namespace", Name(UPSTREAM_NAME), "a name in front of every key in Redis"),
    _setting("machines", _count("machines", 1, 10_000), "gateways that share one Redis"),
    _setting("log", OneOf("json or text", ("json", "text")), "the format of log lines"),
    _setting("log_prompts", Switch("on or off"), "whether log lines show the first 4 KiB of prompts"),
    _setting(
        "trace_slow_seconds",
        Seconds("a number of seconds, 0 for never", 0.0),
        "seconds from which on a request always becomes a trace",
    ),
    _setting(
        "cors_origins",
        CorsOrigins("origins such as https://app.example.org, or * for all"),
        "origins whose pages may call from a browser",
    ),
    _setting(
        "compat",
        Names("names of other APIs: litellm, openai", ("litellm", "openai")),
        "other APIs whose headers, fields and paths are understood",
    ),
)

API_KEYS = Option(
    "api_keys",
    KeyList("keys separated by commas, each of visible ASCII characters without spaces, none twice"),
    DEV_KEY,
    "the callers' keys",
    Scope.ENVIRONMENT,
)
UPSTREAMS = Option(
    "upstreams",
    UpstreamList("name=url;name=url, for example llama=http://localhost:8001"),
    "mock=mock://local",
    "the upstreams and their URLs",
    Scope.ENVIRONMENT,
)
FALLBACKS = Option(
    "fallbacks",
    Fallbacks("model=upstream/model,upstream2;model2=upstream3, for example gpt-4o=spare,openai/gpt-4o"),
    None,
    "further candidates of models",
    Scope.ENVIRONMENT,
)
METRICS_KEY = Option(
    "metrics_key", Key(USABLE_KEY), None, "the key that /metrics requires", Scope.ENVIRONMENT
)
ADMIN_KEY = Option(
    "admin_key",
    AdminKey(f"a key of at least {SHORTEST_ADMIN_KEY} visible ASCII characters, without spaces"),
    None,
    "the key that /admin/v1 requires",
    Scope.ENVIRONMENT,
)
CONFIG = Option(
    "config", TextLine("the path of a TOML file"), None, "the path of the settings file", Scope.ENVIRONMENT
)


def _of_server(name: str, kind: ValueType, default: str | None, description: str) -> Option:
    return Option(name, kind, default, description, Scope.SERVER)


#: ``gunicorn.conf.py`` reads these. Loading checks them too. Without ``GATEWAY_WORKERS`` and
#: ``WEB_CONCURRENCY`` there is one worker per processor core.
SERVER = (
    _of_server(
        "bind",
        Addresses("addresses to listen on, such as 127.0.0.1:8000"),
        server_defaults.BIND,
        "the addresses to listen on",
    ),
    _of_server("workers", _count("processes", 1, 10_000), None, "worker processes"),
    _of_server(
        "threads", _count("threads", 1, 10_000), written(server_defaults.THREADS), "threads of one worker"
    ),
    _of_server(
        "pin_workers",
        OneOf("auto or off", ("auto", "off")),
        server_defaults.PIN_WORKERS,
        "whether each worker stays on one core",
    ),
    _of_server(
        "graceful_seconds",
        _count("seconds"),
        written(server_defaults.GRACEFUL_SECONDS),
        "seconds that calls in flight may take at a stop",
    ),
    _of_server(
        "server_log_level",
        OneOf(f"one of {', '.join(_LEVELS)}", _LEVELS),
        server_defaults.LOG_LEVEL,
        "gunicorn's log level",
    ),
)

OPTIONS = (API_KEYS, *SCALARS, UPSTREAMS, FALLBACKS, METRICS_KEY, ADMIN_KEY, CONFIG, *SERVER)

#: Per upstream: ``GATEWAY_UPSTREAM_<NAME>_API_KEY`` and so on.
UPSTREAM_API_KEY = Option(
    "api_key", Key(USABLE_KEY), None, "sent to the upstream as Bearer token", Scope.ENVIRONMENT
)
UPSTREAM_MAX_IN_FLIGHT = Option(
    "max_in_flight", _CALLS, _default(UpstreamSettings, "max_in_flight"), "calls in flight at the upstream"
)
#: The general settings that an upstream may have of its own, in the file and in the environment.
EGRESS = (CA_FILE, CLIENT_CERT, CLIENT_KEY, PROXY)
PER_UPSTREAM = (UPSTREAM_API_KEY, UPSTREAM_MAX_IN_FLIGHT, *EGRESS)


def upstream_variable(upstream: str, option: Option) -> str:
    """The variable that sets the option for one upstream."""
    return f"{PREFIX}UPSTREAM_{re.sub('[^A-Z0-9]', '_', upstream.upper())}_{option.name.upper()}"


VARIABLE = Variable("the name of an environment variable")
SECRET_PATH = SecretPath("the path of a file")

#: The names at the top level of the file, apart from its tables.
FILE_SCALARS: Mapping[str, ValueType] = {
    **{option.name: option.kind for option in SCALARS},
    "state_env": VARIABLE,
    "proxy_env": VARIABLE,
    "api_keys": Forbidden("callers' keys as tables", "write [keys.NAME] with key_env, key_file or sha256"),
    "fallbacks": Forbidden("fallbacks with their model", "write fallbacks = [...] in [models.NAME]"),
    **{
        option.name: Forbidden("this in the environment only", f"set {option.variable}")
        for option in (METRICS_KEY, ADMIN_KEY, CONFIG, *SERVER)
    },
}
