"""Tests the settings of the way to upstreams: proxies, client certificates, Unix sockets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kit.needs import need
from kit.tls import make_certificate

from flask_gateway.app.build import _addresses, _fingerprint
from flask_gateway.config import last_good
from flask_gateway.config.client_certificates import not_after
from flask_gateway.config.describe import changed, describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.proxy_url import bypasses, proxy_for
from flask_gateway.config.schema import Proxy, Secret
from flask_gateway.config.toml_file import files
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


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``certificate.pem``, ``key.pem`` and ``both.pem``."""
    folder = tmp_path_factory.mktemp("pair")
    make_certificate(folder)
    return folder


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


# ---------------------------------------------------------------- client certificates


@pytest.mark.parametrize("own", [True, False])
def test_a_client_certificate(pair: Path, toml: Callable[[str], str], own: bool, tmp_path: Path) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_bytes((pair / name).read_bytes())
    lines = 'client_cert = "certificate.pem"\nclient_key = "key.pem"'  # relative to the settings file
    table = '[upstreams.a]\nurl = "https://model.example"\n[upstreams.b]\nurl = "http://model.example"\n'
    path = toml(table.replace("\n", f"\n{lines}\n", 1) if own else f"{lines}\n{table}")
    settings = load({"GATEWAY_CONFIG": path})
    a, b = settings.upstreams
    assert a.client_cert is not None
    assert b.client_cert is None
    assert (settings.client_cert is None) is own
    assert set(files(path)) == {Path(path), tmp_path / "certificate.pem", tmp_path / "key.pem"}
    assert "PRIVATE" not in repr(settings) + "\n".join(describe(resolve({"GATEWAY_CONFIG": path})))
    assert timedelta(days=1) < not_after(a.client_cert) - datetime.now(UTC) < timedelta(days=2, minutes=5)


def test_one_file_with_both_by_variable(pair: Path) -> None:
    for name in ("GATEWAY_CLIENT_CERT", "GATEWAY_UPSTREAM_A_CLIENT_CERT"):
        settings = load({"GATEWAY_UPSTREAMS": FAR, name: str(pair / "both.pem")})
        assert str(settings.upstreams[0].client_cert) == str(pair / "both.pem")


def test_a_certificate_without_a_fitting_key(pair: Path, tmp_path: Path) -> None:
    need("openssl")
    make_certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    command = [
        "openssl",
        "pkey",
        "-in",
        str(pair / "key.pem"),
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        locked,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "empty.pem").write_text("")
    certificate = str(pair / "certificate.pem")
    for cert, key, setting, why in (
        (certificate, str(tmp_path / "key.pem"), "GATEWAY_CLIENT_KEY", "not the key of the certificate"),
        (certificate, None, "GATEWAY_CLIENT_CERT", "it holds no private key"),
        (certificate, str(locked), "GATEWAY_CLIENT_KEY", "it is encrypted"),
        (certificate, "/missing", "GATEWAY_CLIENT_KEY", "No such file"),
        (
            str(tmp_path / "empty.pem"),
            str(pair / "key.pem"),
            "GATEWAY_CLIENT_CERT",
            "it holds no certificate",
        ),
        ("/missing", None, "GATEWAY_CLIENT_CERT", "No such file"),
        (None, str(pair / "key.pem"), "GATEWAY_CLIENT_CERT", "GATEWAY_CLIENT_KEY is set without it"),
    ):
        environ = {"GATEWAY_CLIENT_CERT": cert, "GATEWAY_CLIENT_KEY": key, "GATEWAY_UPSTREAMS": FAR}
        with pytest.raises(ConfigError) as refused:
            load({name: value for name, value in environ.items() if value is not None})
        assert refused.value.setting == setting
        assert why in str(refused.value), refused.value


def test_a_renewed_certificate_opens_new_connections(pair: Path, tmp_path: Path) -> None:
    environ = {"GATEWAY_UPSTREAMS": FAR, "GATEWAY_CLIENT_CERT": str(tmp_path / "both.pem")}
    (tmp_path / "both.pem").write_bytes((pair / "both.pem").read_bytes())
    before = load(environ)
    assert list(changed(before, load(environ))) == []
    make_certificate(tmp_path)
    after = load(environ)
    assert list(changed(before, after)) == ["upstreams.a", "client_cert"]
    assert _addresses(before) != _addresses(after)


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


def test_the_choice_is_a_pure_function() -> None:
    general = Proxy("http", "p", 1)
    assert proxy_for("https://model.example/v1", None, general, (), {}) is general
    assert proxy_for("https://model.example/v1", None, None, (), {"HTTPS_PROXY": "http://p:1"}) is None
