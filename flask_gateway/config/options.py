"""Every setting there is: name, kind, default. Checks, output and documentation follow this table."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from .route_syntax import Fallbacks
from .secrets import DEV_KEY, USABLE_KEY, Forbidden, Key, KeyList, SecretPath, Variable
from .value_types import (
    UPSTREAM_NAME,
    Addresses,
    CorsOrigins,
    Name,
    OneOf,
    Seconds,
    StateUrl,
    TextLine,
    UpstreamList,
    ValueType,
    WholeNumber,
)

PREFIX = "GATEWAY_"


class Option(msgspec.Struct, frozen=True):
    """One setting.

    :param name: as the file and :class:`~flask_gateway.config.schema.Settings` call it, in lower case.
    :param default: as the environment would write it; ``None`` where no fixed value is the default.
    :param in_file: whether the file may set it at its top level.
    """

    name: str
    kind: ValueType
    default: str | None
    in_file: bool = True

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


_LEVELS = ("debug", "info", "warning", "error", "critical")
_AT_ONCE = "a whole number of calls at once, 0 for unlimited"
_LISTEN = "addresses to listen on, such as 127.0.0.1:8000"
_SECONDS = "a number of seconds above 0"

CA_FILE = Option("ca_file", TextLine("the path of a file of CA certificates in PEM"), None)

#: The settings with one value each, that end up in ``Settings`` under the same name.
SCALARS = (
    Option(
        "rate_limit_per_minute",
        WholeNumber("a whole number of requests per minute, 0 for unlimited"),
        "60",
    ),
    Option("max_concurrent_per_key", WholeNumber(_AT_ONCE), "0"),
    Option(
        "failed_keys_per_minute",
        WholeNumber("a whole number of failed keys per minute, 0 for unlimited"),
        "60",
    ),
    Option("circuit_breaker_max_failures", WholeNumber("a whole number of failures, at least 1", 1), "5"),
    Option("circuit_breaker_reset_seconds", Seconds(_SECONDS), "30"),
    Option("circuit_breaker_successes", WholeNumber("a whole number of successes, at least 1", 1), "1"),
    Option("circuit_breaker_slow_seconds", Seconds("a number of seconds, 0 for never", 0.0), "0"),
    Option("request_timeout_seconds", Seconds(_SECONDS), "10"),
    Option("answer_timeout_seconds", Seconds(_SECONDS), "120"),
    CA_FILE,
    Option("default_upstream", Name(UPSTREAM_NAME), None),
    Option("max_body_bytes", WholeNumber("a whole number of bytes, at least 1", 1, 1 << 40), "16777216"),
    Option("body_memory_bytes", WholeNumber("a whole number of bytes, at least 1", 1, 1 << 40), "268435456"),
    Option("max_streams", WholeNumber("a whole number of streams, at least 1", 1, 1_000_000), "2000"),
    Option("stream_buffer_bytes", WholeNumber("a whole number of bytes, at least 1", 1, 1 << 30), "262144"),
    Option("send_timeout_seconds", Seconds(_SECONDS), "30"),
    Option(
        "state",
        StateUrl("memory://, shared://, redis://host:port/0 or rediss://host:port/0"),
        "shared://",
    ),
    Option("state_namespace", Name(UPSTREAM_NAME), None),
    Option("machines", WholeNumber("a whole number of machines, at least 1", 1, 10_000), "1"),
    Option("log", OneOf("json or text", ("json", "text")), "json"),
    Option("log_prompts", OneOf("on or off", ("on", "off")), "off"),
    Option("cors_origins", CorsOrigins("origins such as https://app.example.org, or * for all"), ""),
)

API_KEYS = Option(
    "api_keys",
    KeyList("keys separated by commas, each of visible ASCII characters without spaces, none twice"),
    DEV_KEY,
    in_file=False,
)
UPSTREAMS = Option(
    "upstreams",
    UpstreamList("name=url;name=url, for example llama=http://localhost:8001"),
    "mock=mock://local",
    in_file=False,
)
FALLBACKS = Option(
    "fallbacks",
    Fallbacks("model=upstream/model,upstream2;model2=upstream3, for example gpt-4o=spare,openai/gpt-4o"),
    None,
    in_file=False,
)
METRICS_KEY = Option("metrics_key", Key(USABLE_KEY), None, in_file=False)
CONFIG = Option("config", TextLine("the path of a TOML file"), None, in_file=False)

#: Read by ``gunicorn.conf.py``, before there are settings; checked here all the same. Without
#: ``GATEWAY_WORKERS`` there is one worker per processor core.
SERVER = (
    Option(
        "bind", Addresses("addresses to listen on, such as 127.0.0.1:8000"), "127.0.0.1:8000", in_file=False
    ),
    Option("workers", WholeNumber("a whole number of processes, at least 1", 1, 10_000), None, in_file=False),
    Option("threads", WholeNumber("a whole number of threads, at least 1", 1, 10_000), "64", in_file=False),
    Option("pin_workers", OneOf("auto or off", ("auto", "off")), "auto", in_file=False),
    Option("graceful_seconds", WholeNumber("a whole number of seconds, at least 1", 1), "30", in_file=False),
    Option("server_log_level", OneOf(f"one of {', '.join(_LEVELS)}", _LEVELS), "info", in_file=False),
)

OPTIONS = (API_KEYS, *SCALARS, UPSTREAMS, FALLBACKS, METRICS_KEY, CONFIG, *SERVER)

#: Per upstream: ``GATEWAY_UPSTREAM_<NAME>_API_KEY`` and so on.
UPSTREAM_API_KEY = Option("api_key", Key(USABLE_KEY), None, in_file=False)
UPSTREAM_MAX_IN_FLIGHT = Option("max_in_flight", WholeNumber(_AT_ONCE), "0")
PER_UPSTREAM = (UPSTREAM_API_KEY, UPSTREAM_MAX_IN_FLIGHT)


def upstream_variable(upstream: str, option: Option) -> str:
    """The variable that sets the option for one upstream."""
    return f"{PREFIX}UPSTREAM_{re.sub('[^A-Z0-9]', '_', upstream.upper())}_{option.name.upper()}"


VARIABLE = Variable("the name of an environment variable")
SECRET_PATH = SecretPath("the path of a file")

#: What the top level of the file may hold besides its tables.
FILE_SCALARS: Mapping[str, ValueType] = {
    **{option.name: option.kind for option in SCALARS},
    "state_env": VARIABLE,
    "api_keys": Forbidden("callers' keys as tables", "write [keys.NAME] with key_env, key_file or sha256"),
    "fallbacks": Forbidden("fallbacks with their model", "write fallbacks = [...] in [models.NAME]"),
    **{
        option.name: Forbidden("this in the environment only", f"set {option.variable}")
        for option in (METRICS_KEY, CONFIG, *SERVER)
    },
}
