"""Tests client certificates of the settings: what is read, and what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kit.needs import need
from kit.tls import make_certificate

from flask_gateway.app.build import _addresses
from flask_gateway.config.client_certificates import not_after
from flask_gateway.config.describe import changed, describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.toml_file import files

FAR = "a=https://model.example"


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return str(path)

    return write


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
