"""Tests the settings of the way to upstreams: proxies, client certificates, Unix sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.app.endpoints import _fingerprint
from flask_gateway.config import last_good
from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.schema import Secret
from flask_gateway.config.upstream_url import base_url, socket_path
from flask_gateway.guards.breaker_state import Policy

FAR = "a=https://model.example"
PASSWORD = "pass-word-of-the-proxy"


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return str(path)

    return write


def proxy_of(**environ: str) -> str:
    return str(load({"GATEWAY_UPSTREAMS": FAR, **environ}).upstreams[0].proxy)


def test_credentials_are_decoded_and_shown_nowhere(toml: Callable[[str], str]) -> None:
    environ = {
        "GATEWAY_CONFIG": toml('proxy_env = "OURS"\n[upstreams.a]\nurl = "https://model.example"'),
        "OURS": f"http://us%40er:{PASSWORD}%3A@proxy:3128",
    }
    resolved = resolve(environ)
    proxy = resolved.settings.upstreams[0].proxy
    assert proxy is not None
    assert proxy.credentials == Secret(f"us@er:{PASSWORD}:")
    shown = "\n".join(describe(resolved))
    assert "proxy = http://****@proxy:3128  (from file)" in shown
    assert PASSWORD not in shown + repr(resolved.settings)


def test_the_file_holds_no_credentials(toml: Callable[[str], str]) -> None:
    for line in (f'proxy = "http://user:{PASSWORD}@proxy"', 'proxy = "http://p"\nproxy_env = "OURS"'):
        path = toml(f'{line}\n[upstreams.a]\nurl = "https://model.example"')
        with pytest.raises(ConfigError) as refused:
            load({"GATEWAY_CONFIG": path, "OURS": "http://proxy"})
        assert PASSWORD not in str(refused.value)


def test_the_own_proxy_counts_before_the_general_one(toml: Callable[[str], str]) -> None:
    path = toml(
        'proxy = "http://general:1"\nno_proxy = [".internal"]\n'
        '[upstreams.far]\nurl = "https://model.example"\n'
        '[upstreams.own]\nurl = "https://model.example"\nproxy = "socks5://own:2"\n'
        '[upstreams.none]\nurl = "https://model.example"\nproxy = "none"\n'
        '[upstreams.excluded]\nurl = "https://model.internal"\n'
        '[upstreams.meant]\nurl = "https://model.internal"\nproxy = "http://own:2"\n'
        '[upstreams.here]\nurl = "http://127.0.0.1:8001"\n'
        '[upstreams.alsohere]\nurl = "http://localhost:8001"\n'
        '[upstreams.unix]\nurl = "http+unix://%2Fa"\n'
        '[upstreams.mock]\nurl = "mock://local"\n'
    )
    found = {one.name: str(one.proxy) for one in load({"GATEWAY_CONFIG": path}).upstreams}
    assert found == {
        "far": "http://general:1",
        "own": "socks5://own:2",
        "meant": "http://own:2",
        **dict.fromkeys(("none", "excluded", "here", "alsohere", "unix", "mock"), "None"),
    }
    environ = {"GATEWAY_CONFIG": path, "GATEWAY_UPSTREAM_OWN_PROXY": "none", "GATEWAY_PROXY": "http://env:3"}
    found = {one.name: str(one.proxy) for one in load(environ).upstreams}
    assert (found["far"], found["own"], found["meant"]) == ("http://env:3", "None", "http://own:2")
    assert "upstreams.none.proxy = none  (from file)" in list(describe(resolve(environ)))


VARIABLES: list[tuple[dict[str, str], str]] = [
    ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
    ({"ALL_PROXY": "socks5h://p:1"}, "socks5h://p:1"),
    ({"ALL_PROXY": "http://q:1", "https_proxy": "http://p:1"}, "http://p:1"),
    ({"HTTP_PROXY": "http://p:1"}, "None"),
    ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, .example"}, "None"),
    ({"HTTPS_PROXY": ""}, "None"),
]


@pytest.mark.parametrize(("environ", "used"), VARIABLES)
def test_variables_of_other_programs_are_used_on_demand_only(environ: dict[str, str], used: str) -> None:
    assert proxy_of(**environ) == "None"
    assert proxy_of(GATEWAY_PROXY="environment", **environ) == used
    assert proxy_of(GATEWAY_UPSTREAM_A_PROXY="environment", **environ) == used


def test_a_proxy_variable_that_is_not_used_is_a_warning() -> None:
    def warned(upstream: str = FAR, **environ: str) -> bool:
        settings = load({"GATEWAY_UPSTREAMS": upstream, "HTTPS_PROXY": "http://p:1", **environ})
        return any("HTTPS_PROXY is set" in warning for warning in settings.warnings)

    assert warned()
    assert not warned("a=https://localhost:1")
    assert not warned("a=http://model.example")
    assert not warned("a=http+unix://%2Fa")
    for choice in ("none", "environment", "http://other:1"):
        assert not warned(GATEWAY_PROXY=choice)


def test_a_variable_that_holds_no_proxy() -> None:
    environ = {"GATEWAY_UPSTREAMS": FAR, "GATEWAY_PROXY": "environment", "HTTPS_PROXY": f"ftp://{PASSWORD}"}
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as refused:
        load(environ)
    assert PASSWORD not in str(refused.value)


def test_a_worker_gets_the_last_good_settings_whole(pair: Path) -> None:
    """Also if the files are broken by then: what is read is in the settings."""
    import msgspec

    environ = {"GATEWAY_CLIENT_CERT": str(pair / "both.pem"), "GATEWAY_PROXY": f"http://u:{PASSWORD}@p:1"}
    settings = load({"GATEWAY_UPSTREAMS": FAR, **environ})
    data = msgspec.msgpack.encode(settings, enc_hook=last_good._plain)
    assert msgspec.msgpack.decode(data, type=type(settings), dec_hook=last_good._typed) == settings


def test_a_breaker_forgets_when_the_way_changes(pair: Path) -> None:
    def fingerprint(**environ: str) -> str:
        (upstream,) = load({"GATEWAY_UPSTREAMS": FAR, **environ}).upstreams
        return _fingerprint(upstream, Policy(5, 1, 1, 1, 1, 0))

    ways: list[dict[str, Any]] = [
        {},
        {"GATEWAY_PROXY": "http://p:1"},
        {"GATEWAY_PROXY": "http://u:one@p:1"},
        {"GATEWAY_PROXY": "http://u:two@p:1"},
        {"GATEWAY_CLIENT_CERT": str(pair / "both.pem")},
    ]
    assert len({fingerprint(**way) for way in ways}) == len(ways)


# ---------------------------------------------------------------- Unix sockets


@pytest.mark.parametrize(
    ("url", "base", "path"),
    [
        ("http+unix://%2Frun%2Fvllm.sock", "http+unix://%2Frun%2Fvllm.sock/v1", "/run/vllm.sock"),
        ("HTTP+UNIX://%2fRun%2fA.sock/v1/", "http+unix://%2FRun%2FA.sock/v1", "/Run/A.sock"),
        ("http+unix://%2Frun%2Fa%20b/api/v4", "http+unix://%2Frun%2Fa%20b/api/v4", "/run/a b"),
    ],
)
def test_urls_of_unix_sockets(url: str, base: str, path: str) -> None:
    assert base_url(url) == base
    assert socket_path(base) == path
    assert load({"GATEWAY_UPSTREAMS": f"a={url}"}).upstreams[0].url == base


@pytest.mark.parametrize(
    "url",
    [
        "http+unix://run/vllm.sock",
        "http+unix:///run/vllm.sock",
        "http+unix://",
        "http+unix://%00abstract",
        f"http+unix://%2F{'x' * 107}",
        "http+unix://%2Fa?b",
        "unix:/run/vllm.sock",
        "/run/vllm.sock",
    ],
)
def test_urls_that_name_no_socket(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"GATEWAY_UPSTREAMS": f"a={url}"})
    assert "http+unix://" in str(refused.value) or "query" in str(refused.value)
