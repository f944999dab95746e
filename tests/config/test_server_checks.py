"""Tests settings that are refused with some addresses or numbers of workers."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load
from flask_gateway.config.server_checks import refuse_exposed_dev_key, refuse_split_state, workers_of

BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}


# ---------------------------------------------------------------- the published key

DEV = load({})


@pytest.mark.parametrize(
    "bind",
    [":8000", "", "0.0.0.0:8000", "0.0.0.0", "[::]:8000", "10.0.0.1:80", "example.org:80", "8000", "::1",
     "/run/g.sock", "[::ffff:127.0.0.1]:80", "127.0.0.1:80,0.0.0.0:80", "tcp://0.0.0.0:80",
     "x[127.0.0.1]", "localhost.evil.org"],
)  # fmt: skip
def test_the_dev_key_is_refused_where_others_can_connect(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"^GATEWAY_BIND='.*': expected an address of this machine only"):
        refuse_exposed_dev_key(DEV, ["127.0.0.1:8000", bind])
    refuse_exposed_dev_key(load(BASE), [bind])


@pytest.mark.parametrize(
    "bind",
    ["127.0.0.1:8000", "127.8.9.1", "localhost:80", "LOCALHOST", "[::1]:80", "[::1]", "unix:/run/g.sock",
     "unix:g.sock", "fd://3", "tcp://127.0.0.1:80", "127.0.0.1:80, [::1]:80"],
)  # fmt: skip
def test_the_dev_key_may_stay_on_this_machine(bind: str) -> None:
    refuse_exposed_dev_key(DEV, [bind])


def test_the_dev_key_is_known_by_its_digest_too(toml: Any) -> None:
    settings = load(
        {"GATEWAY_CONFIG": toml(f"[keys.x]\nsha256 = '{hashlib.sha256(b'dev-key').hexdigest()}'")}
    )
    with pytest.raises(ConfigError):
        refuse_exposed_dev_key(settings, [":80"])


# ---------------------------------------------------------------- several workers


@pytest.mark.parametrize(
    ("own", "environ", "workers"),
    [(3, {"WEB_CONCURRENCY": "5"}, 3), (None, {"WEB_CONCURRENCY": "5"}, 5)],
)
def test_the_own_setting_counts_before_the_platforms(
    own: int | None, environ: dict[str, str], workers: int
) -> None:
    assert workers_of({"workers": own}, environ) == workers


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_without_a_number_there_is_a_worker_for_each_core(given: str) -> None:
    assert workers_of({"workers": None}, {"WEB_CONCURRENCY": given}) == len(os.sched_getaffinity(0))


def test_several_workers_cannot_count_each_for_itself() -> None:
    settings = load({**BASE, "GATEWAY_STATE": "memory://"})
    refuse_split_state(settings, 1)
    refuse_split_state(load(BASE), 2)
    with pytest.raises(ConfigError, match=r"^GATEWAY_STATE='memory://': expected state that 2 workers can"):
        refuse_split_state(settings, 2)
