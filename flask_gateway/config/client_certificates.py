"""Reads the client certificate that the gateway shows to upstreams, and checks that its key belongs to it."""

from __future__ import annotations

import os
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

from .errors import ConfigError
from .file_access import read_regular
from .schema import ClientCertificate, Secret

CERTIFICATE = "the path of a file with a certificate in PEM"
KEY = "the path of a file with the certificate's private key in PEM"
#: The largest file that is read, bytes.
MOST_BYTES = 1 << 20

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----([^-]*(?:-[^-]+)*?)-----END \1-----")
#: ASN.1 tags (X.680) of the two kinds of time in a certificate (RFC 5280, section 4.1.2.5), their formats.
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


def read_client_certificate(
    setting: str, path: Path, key_setting: str, key_path: Path | None
) -> ClientCertificate:
    """Read a certificate and its key.

    :param setting: the setting that names the certificate's file, for the error. :param key_setting: the one
        that names the key's.
    :param key_path: ``None``: the key is in the certificate's file.
    :raises ConfigError: a file cannot be read, holds something else, or the two do not belong together.
    """
    found = _CERTIFICATE.findall(_read(setting, path, CERTIFICATE))
    if not found:
        raise ConfigError(setting, str(path), CERTIFICATE, "it holds no certificate")
    key_setting, place = (setting, path) if key_path is None else (key_setting, key_path)
    key = _key_of(key_setting, place)
    files = (str(path),) if key_path is None else (str(path), str(key_path))
    certificate = ClientCertificate(
        files, Secret(b"\n".join([*found, key]).decode("ascii", "replace") + "\n")
    )
    try:
        load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            hint = f"it is not the key of the certificate in {path}"
        else:
            hint = f"the certificate in {path} or this key is broken"
        raise ConfigError(key_setting, str(place), KEY, hint) from None
    return certificate


def load_into(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """Make the context show the certificate. :raises ssl.SSLError: certificate and key do not fit."""
    # OpenSSL reads files only. This one is in memory, and nobody else can open it.
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, certificate.pem.reveal().encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_password)
    finally:
        os.close(descriptor)


def not_after(certificate: ClientCertificate) -> datetime:
    """Return when the certificate expires. :raises ValueError: its bytes are no certificate."""
    pem = certificate.pem.reveal()
    end = "-----END CERTIFICATE-----"
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)])
    _, body, _ = _element(_element(der, 0)[1], 0)  # Certificate, tbsCertificate
    at = 0
    tag, _, after = _element(body, at)
    if tag == 0xA0:  # the version, which may be missing
        at = after
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, at = _element(body, at)
    _, validity, _ = _element(body, at)
    _, _, at = _element(validity, 0)
    tag, text, _ = _element(validity, at)
    if tag not in _TIMES:
        raise ValueError("no time where a certificate has its expiry")
    return datetime.strptime(text.decode("ascii"), _TIMES[tag]).replace(tzinfo=UTC)


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Read an element of DER (X.690): its tag, its content, and where the next one begins."""
    if at + 2 > len(data):
        raise ValueError("the certificate is cut off")
    tag, length, at = data[at], data[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    return tag, data[at : at + length], at + length


def _key_of(setting: str, path: Path) -> bytes:
    data = _read(setting, path, KEY)
    match = _KEY.search(data)
    if match is None:
        raise ConfigError(setting, str(path), KEY, "it holds no private key")
    if b"ENCRYPTED" in match[0]:
        hint = "it is encrypted: `openssl pkey -in FILE -out key.pem` decrypts it; give that file mode 0600"
        raise ConfigError(setting, str(path), KEY, hint)
    return match[0]


def _read(setting: str, path: Path, expected: str) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(setting, str(path), expected, reason) from None


def _refuse_password() -> str:
    """Replaces OpenSSL's question on the terminal."""
    raise ssl.SSLError("the key is encrypted")
