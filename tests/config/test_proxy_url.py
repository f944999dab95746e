"""Tests which texts name a proxy, and which upstreams are reached without it."""

from __future__ import annotations

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load
from flask_gateway.config.proxy_url import bypasses, proxy_for
from flask_gateway.config.schema import Proxy

FAR = "a=https://model.example"
PASSWORD = "pass-word-of-the-proxy"


def proxy_of(**environ: str) -> str:
    return str(load({"GATEWAY_UPSTREAMS": FAR, **environ}).upstreams[0].proxy)


# ---------------------------------------------------------------- proxies


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://proxy", "http://proxy:80"),
        ("https://proxy/", "https://proxy:443"),
        ("proxy:3128", "http://proxy:3128"),
        ("socks5://[::1]:1080", "socks5://[::1]:1080"),
        ("socks5h://proxy", "socks5h://proxy:1080"),
        (f"http://user:{PASSWORD}@proxy:3128", "http://****@proxy:3128"),
        ("none", "None"),
    ],
)
def test_proxies(given: str, shown: str) -> None:
    assert proxy_of(GATEWAY_PROXY=given) == shown
    assert proxy_of(GATEWAY_UPSTREAM_A_PROXY=given) == shown


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://proxy:21",
        "socks4://proxy",
        "http://proxy:0",
        "http://proxy/path",
        "http://proxy?x",
        f"http://{PASSWORD}@proxy",
        f"http://user:{PASSWORD}@x@proxy",
        "http://pro xy",
        "Environment",
    ],
)
def test_a_text_that_is_no_proxy(given: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"GATEWAY_UPSTREAMS": FAR, "GATEWAY_PROXY": given})
    assert str(refused.value).startswith("GATEWAY_PROXY")
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "port", "listed", "direct"),
    [
        ("a.example.org", 443, "example.org", True),
        ("a.example.org", 443, ".example.org", True),
        ("example.org", 443, ".example.org", True),
        ("EXAMPLE.org.", 443, "example.org", True),
        ("badexample.org", 443, "example.org", False),
        ("example.org", 443, "a.example.org", False),
        ("example.org", 8443, "example.org:8443", True),
        ("example.org", 443, "example.org:8443", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("fd00::5", 80, "fd00::/8", True),
        ("fd00::5", 80, "[fd00::5]:80", True),
        ("fd00::5", 80, "10.0.0.0/8", False),
        ("anything", 1, "*", True),
        ("anything", 1, "", False),
        ("10.1.2.3", 80, "2.3", False),
    ],
)
def test_hosts_without_the_proxy(host: str, port: int, listed: str, direct: bool) -> None:
    entries = tuple(entry for entry in listed.split(",") if entry)
    assert bypasses(host, port, entries) is direct
    environ = {"GATEWAY_PROXY": "http://proxy:1", "GATEWAY_NO_PROXY": listed}
    url = f"http://{f'[{host}]' if ':' in host else host.rstrip('.')}:{port}"
    proxied = load({"GATEWAY_UPSTREAMS": f"a={url}", **environ}).upstreams[0].proxy
    assert (proxied is None) is direct


@pytest.mark.parametrize("listed", ["http://a", "10.0.0.0/33", "a b/c", "a,,$"])
def test_a_list_that_names_no_hosts(listed: str) -> None:
    with pytest.raises(ConfigError, match="GATEWAY_NO_PROXY"):
        load({"GATEWAY_UPSTREAMS": FAR, "GATEWAY_NO_PROXY": listed})


def test_the_choice_is_a_pure_function() -> None:
    general = Proxy("http", "p", 1)
    assert proxy_for("https://model.example/v1", None, general, (), {}) is general
    assert proxy_for("https://model.example/v1", None, None, (), {"HTTPS_PROXY": "http://p:1"}) is None
