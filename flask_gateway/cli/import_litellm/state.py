"""Decides where limits and circuit breakers are counted: LiteLLM's Redis, if its router has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...config.errors import InvalidValue
from ...config.value_types import StateUrl
from .parameters import may_be_secret
from .report import Report
from .values import Environment, Literal, whole
from .yaml_tree import Entry, Node

#: The variable that is to hold the URL, if the file does not name one.
VARIABLE = "REDIS_URL"


class StateSetting(NamedTuple):
    """The setting ``state``, or ``state_env``; both empty: the default.

    :param secret: the URL, if it stands in the file with its password.
    """

    url: str = ""
    variable: str = ""
    secret: Literal | None = None


def state_of(redis: Mapping[str, Entry], environment: Environment, report: Report) -> StateSetting:
    """:param redis: the entries ``redis_…`` of ``router_settings``, by name."""
    if "redis_url" in redis:
        return _by_url(redis["redis_url"], environment, report)
    if "redis_host" not in redis:
        for name, entry in redis.items():
            report.left_out(entry.line, f"router_settings.{name}", "there is no redis_host")
        return StateSetting()
    return _by_parts(redis, environment, report)


def _by_url(entry: Entry, environment: Environment, report: Report) -> StateSetting:
    setting = "router_settings.redis_url"
    variable = environment.variable(entry.node)
    url = environment.literal(variable) if variable else entry.node.text
    if url is None:
        report.mapped(entry.line, setting, f"state_env = {variable}")
        return StateSetting(variable=variable or "")
    if not _is_valid(url):
        report.left_out(entry.line, setting, "it is no URL of a Redis that the gateway can use")
        return StateSetting()
    if "@" in url or "password" in url.lower():
        report.changed(entry.line, setting, f"state_env = {variable or VARIABLE}, which must be set to it")
        return StateSetting(variable=variable or VARIABLE, secret=Literal(url, variable or VARIABLE))
    report.mapped(entry.line, setting, "state")
    return StateSetting(url=url)


def _by_parts(redis: Mapping[str, Entry], environment: Environment, report: Report) -> StateSetting:
    redis = {name: _resolved(entry, environment) for name, entry in redis.items()}
    host, port = redis["redis_host"], redis.get("redis_port")
    names = {name: environment.variable(entry.node) for name, entry in redis.items()}
    number = whole(port.node, 65_535) if port else 6379
    database = whole(redis["redis_db"].node, 100_000) or 0 if "redis_db" in redis else 0
    url = f"redis://{host.node.text}:{number}/{database}"
    if not any(names.values()) and "redis_password" not in redis and _is_valid(url):
        _map_all(redis, "state, counted in Redis", report)
        return StateSetting(url=url)
    parts = {
        "HOST": f"${names['redis_host']}" if names["redis_host"] else _plain(host.node.text),
        "PORT": f"${names.get('redis_port')}" if names.get("redis_port") else str(number or 6379),
    }
    password = f"${names['redis_password']}" if names.get("redis_password") else "PASSWORD"
    secret = f":{password}@" if "redis_password" in redis else ""
    _map_all(redis, f"state_env = {VARIABLE}, counted in Redis", report)
    report.changed(
        redis.get("redis_password", host).line,
        "router_settings.redis_host",
        f"set {VARIABLE} to redis://{secret}{parts['HOST']}:{parts['PORT']}/{database}",
    )
    return StateSetting(variable=VARIABLE)


def _resolved(entry: Entry, environment: Environment) -> Entry:
    """The entry with the value that ``environment_variables`` gives its variable, if it does."""
    name = environment.variable(entry.node)
    value = environment.literal(name) if name else None
    return entry if value is None else Entry(entry.line, entry.name, Node(entry.line, value, value))


def _map_all(redis: Mapping[str, Entry], text: str, report: Report) -> None:
    for name, entry in redis.items():
        report.mapped(entry.line, f"router_settings.{name}", text)


def _plain(host: str) -> str:
    usable = _is_valid(f"redis://{host}:1/0") and "@" not in host and not may_be_secret(host)
    return host if usable else "HOST"


def _is_valid(url: str) -> bool:
    try:
        StateUrl("").parse(url)
    except (InvalidValue, ValueError):
        return False
    return url.startswith("redis")
