"""Suggests the right name for settings that other gateways have under another name."""

from __future__ import annotations

from collections.abc import Mapping

from .schema import Timeouts

_BIND = "GATEWAY_BIND takes host:port"
_KEYS = "did you mean GATEWAY_API_KEYS?"

#: Hints by environment variable, without the prefix.
VARIABLES: Mapping[str, str] = {
    "MASTER_KEY": _KEYS,
    "KEY": _KEYS,
    "KEYS": _KEYS,
    "TOKEN": _KEYS,
    "SECRET": _KEYS,
    "PASSWORD": _KEYS,
    "HOST": _BIND,
    "PORT": _BIND,
    "LISTEN": _BIND,
    "ADDRESS": _BIND,
    "TIMEOUT": "did you mean GATEWAY_REQUEST_TIMEOUT_SECONDS?",
    "RPM": "did you mean GATEWAY_RATE_LIMIT_PER_MINUTE?",
    "LOG_LEVEL": "did you mean GATEWAY_SERVER_LOG_LEVEL?",
    "CONFIG_FILE": "did you mean GATEWAY_CONFIG?",
    "CONFIG_PATH": "did you mean GATEWAY_CONFIG?",
    "REDIS_URL": "did you mean GATEWAY_STATE?",
    "DATABASE_URL": "there is no database; GATEWAY_STATE takes redis://host:port/0",
}

_TIMEOUTS = "the timeouts are " + ", ".join(f"{name}_seconds" for name in Timeouts.__struct_fields__)
_NO_BUDGETS = "budgets are not offered; rate_limit_per_minute limits requests"
_ONLY_REQUESTS = "limits of tokens are not offered; rate_limit_per_minute limits requests"
_BY_PLACE = "name the place of the key with api_key_env or api_key_file"

#: Hints by field of a table of the file, grouped by section.
FIELDS: Mapping[str, Mapping[str, str]] = {
    "upstreams": {
        "timeout": _TIMEOUTS,
        "timeout_seconds": _TIMEOUTS,
        "request_timeout": _TIMEOUTS,
        "base_url": "did you mean url?",
        "api_base": "did you mean url?",
        "host": "did you mean url?",
        "endpoint": "did you mean url?",
        "url_file": "did you mean url_env?",
        "key": _BY_PLACE,
        "token": _BY_PLACE,
        "headers": "headers of your own are not offered",
        "weight": "a weight belongs to a candidate: [models.NAME] tiers = [[{upstream = …, weight = …}]]",
        "models": "models are tables of their own: [models.NAME] upstream = …",
        "fallbacks": "fallbacks belong to a model: [models.NAME] fallbacks = […]",
    },
    "models": {
        "timeout": _TIMEOUTS + ", at an upstream or at a candidate in tiers",
        "weight": "a weight belongs to a candidate: tiers = [[{upstream = …, weight = …}]]",
        "model_name": "the name that callers use is the name of the table: [models.NAME]",
        "url": "the URL belongs to the upstream: [upstreams.NAME] url = …",
        "api_base": "the URL belongs to the upstream: [upstreams.NAME] url = …",
        "api_key": "the key belongs to the upstream: [upstreams.NAME] api_key_env = …",
        "fallback": "did you mean fallbacks?",
        "alias": "did you mean aliases?",
        "defaults": "did you mean default?",
        "upstreams": "did you mean upstream, or tiers for several?",
    },
    "keys": {
        "budget": _NO_BUDGETS,
        "max_budget": _NO_BUDGETS,
        "rpm": "did you mean rate_limit_per_minute?",
        "rpm_limit": "did you mean rate_limit_per_minute?",
        "rate_limit": "did you mean rate_limit_per_minute?",
        "tpm": _ONLY_REQUESTS,
        "tpm_limit": _ONLY_REQUESTS,
        "value": "name the place of the key with key_env or key_file, or give its sha256",
        "hash": "did you mean sha256?",
    },
}


def for_field(path: tuple[str, ...], name: str) -> str | None:
    """The hint for an unknown field of a table of the file, if there is one."""
    return FIELDS.get(path[0], {}).get(name.lower()) if path else None
