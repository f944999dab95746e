"""Reads the certificate authorities of upstreams from files and from OpenSSL's environment variables."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError
from .schema import Authorities

EXPECTED = "the path of a file of CA certificates in PEM"
#: The largest file that is read, bytes. The file of all public authorities has about 250,000.
MOST_BYTES = 16 * 1024 * 1024

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


def read_authorities(setting: str, path: Path) -> Authorities:
    """Read the authorities in a file.

    :param setting: the setting that names the file, for the error.
    :raises ConfigError: the file has no valid certificate.
    """
    certificates = _CERTIFICATE.findall(data := _read(setting, path))
    if not certificates:
        raise ConfigError(setting, str(path), EXPECTED, _content_of(data))
    texts = [certificate.decode("ascii", "replace") for certificate in certificates]
    if not _can_be_read("\n".join(texts)):
        broken = next((number for number, text in enumerate(texts, 1) if not _can_be_read(text)), 1)
        raise ConfigError(setting, str(path), EXPECTED, f"certificate {broken} in it is broken")
    return Authorities((str(path),), "\n".join(texts))


def from_environment(environ: Mapping[str, str]) -> Authorities | None:
    """Read all authorities that the variables of OpenSSL and requests name; ``None`` when none is set.

    If only one of OpenSSL's two variables is set, the system's default replaces the other, as in OpenSSL.

    :raises ConfigError: a variable names a file or directory that does not exist.
    """
    file, folder, bundle = (
        environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    )
    files: dict[str, str] = {}
    folders: list[str] = []
    if file:
        files[file] = "SSL_CERT_FILE"
    if folder:
        folders += _folders("SSL_CERT_DIR", folder)
    system = ssl.get_default_verify_paths()
    if file and not folder and os.path.isdir(system.openssl_capath):
        folders.append(system.openssl_capath)
    if folder and not file and os.path.isfile(system.openssl_cafile):
        files[system.openssl_cafile] = "SSL_CERT_DIR"
    if bundle and os.path.isdir(bundle):
        folders.append(bundle)
    elif bundle:
        files.setdefault(bundle, "REQUESTS_CA_BUNDLE")
    if not files and not folders:
        return None
    read = [read_authorities(setting, Path(path)) for path, setting in files.items()]
    return Authorities(tuple(files), "\n".join(each.pem for each in read), tuple(dict.fromkeys(folders)))


def _folders(setting: str, named: str) -> list[str]:
    there = [folder for folder in named.split(os.pathsep) if os.path.isdir(folder)]
    if not there:
        raise ConfigError(setting, named, "a directory of CA certificates", "it does not exist")
    return there


def _read(setting: str, path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a pipe or a device must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(setting, str(path), EXPECTED, "it is no regular file")
            if status.st_size > MOST_BYTES:
                raise ConfigError(setting, str(path), EXPECTED, f"it has more than {MOST_BYTES} bytes")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MOST_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(setting, str(path), EXPECTED, reason) from None


def _can_be_read(pem: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _content_of(data: bytes) -> str:
    """Describe a file that has no certificate in PEM."""
    if not data.strip():
        return "it is empty"
    if b"PRIVATE KEY-----" in data:
        return "it holds a private key, and no certificate"
    if b"-----BEGIN" in data:
        return "it holds something else in PEM, and no certificate"
    if data[:1] == b"\x30":
        return "it seems to be in DER: `openssl x509 -inform der -in FILE -out ca.pem` converts it to PEM"
    return "it holds no certificate"
