"""Warns the operator of settings that are valid but probably not intended."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from urllib.parse import urlsplit

from .cache_settings import CacheMode
from .errors import dotted
from .key_command_syntax import is_missing
from .options import API_KEYS, PREFIX, UPSTREAM_API_KEY, UPSTREAMS, upstream_variable
from .schema import Settings, UpstreamSettings
from .secrets import DEV_KEY, DEV_KEY_DIGEST, SHORT_KEY
from .traces import CONTENT


class Origin(StrEnum):
    """The source of a value."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


def warnings(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    """Yield the warnings, half a sentence each.

    :param origins: the source of each setting by its dotted path.
    """
    yield from _of_keys(settings)
    yield from _of_upstreams(settings, origins)
    yield from _of_unlisted(settings, origins)
    if settings.log_prompts:
        yield "prompts are written to the log, their first 4 KiB: unset GATEWAY_LOG_PROMPTS to keep them out"
    if settings.traces is not None and settings.traces.content:
        if settings.log_prompts:
            yield f"traces carry what callers and models say: unset {CONTENT} to keep it out of them"
        else:
            yield f"{CONTENT} has no effect: traces carry texts only with GATEWAY_LOG_PROMPTS=on, too"
    yield from _of_cache(settings)
    if settings.machines > 1 and not settings.state.startswith("redis"):
        yield "machines is above 1 but the state is not in Redis, so each machine keeps its own counts"
    if settings.state_namespace and not settings.state.startswith("redis"):
        yield "state_namespace is set but the state is not in Redis, so it changes nothing"


def _of_cache(settings: Settings) -> Iterator[str]:
    cached = any(model.cache.mode is not CacheMode.OFF for model in settings.models)
    if cached and settings.cache.path is None:
        yield "each worker keeps its answers in its memory: set path in [cache] for one cache of all workers"
    elif cached and find_spec("lmdb") is None:
        yield "lmdb is not installed, so each worker keeps its answers in its memory: pip install '.[cache]'"


def _of_keys(settings: Settings) -> Iterator[str]:
    if any(key.digest == DEV_KEY_DIGEST for key in settings.keys):
        yield (
            f"{DEV_KEY!r} is among the keys and is known to everybody: "
            f"set {API_KEYS.variable} before others can reach the gateway"
        )
    for key in settings.keys:
        if key.length is not None and key.length < SHORT_KEY and key.digest != DEV_KEY_DIGEST:
            yield (
                f"key {key.id} has fewer than {SHORT_KEY} characters and can be guessed: "
                "`openssl rand -hex 32` makes a good one"
            )


def _of_upstreams(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    upstreams = settings.upstreams
    if Origin.DEFAULT in (origins[dotted("upstreams", upstream.name)] for upstream in upstreams):
        yield f"no upstream is set, so the built-in mock answers: set {UPSTREAMS.variable}"
    if len(upstreams) > 1 and settings.default_upstream is None and settings.unlisted_models:
        names = ", ".join(upstream.name for upstream in upstreams)
        yield (
            f"there are {len(upstreams)} upstreams and no default, so a model that no rule places is "
            f"refused: set {PREFIX}DEFAULT_UPSTREAM to one of {names}"
        )
    for upstream in upstreams:
        variable = upstream_variable(upstream.name, UPSTREAM_API_KEY)
        if upstream.url.startswith("mock:"):
            if upstream.api_key is not None:
                yield f"{variable} has no effect: upstream '{upstream.name}' is a mock"
        elif upstream.key_command is not None:
            if is_missing(program := upstream.key_command.arguments[0]):
                yield f"upstream '{upstream.name}' has no key: its api_key_command {program!r} is not found"
        elif upstream.api_key is None and _is_public(upstream):
            yield f"upstream '{upstream.name}' is on the public internet and has no key: set {variable}"


def _of_unlisted(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    if settings.unlisted_models:
        return
    if not settings.models and not settings.fallbacks:
        yield "unlisted_models is none and there is no [models.NAME], so every model is refused"
    if origins["default_upstream"] is not Origin.DEFAULT:
        yield "default_upstream has no effect: unlisted_models is none"


def _is_public(upstream: UpstreamSettings) -> bool:
    """Whether the URL uses TLS with a name or an address of the public internet."""
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan", ".home.arpa", ".test"))
