"""Reads proxy settings, and decides whether an upstream is reached through the proxy.

Uses no network and no DNS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from .errors import InvalidValue
from .schema import MASK, Proxy, Secret, mask_url
from .upstream_url import split_url
from .value_types import BaseType

#: The default ports; 1080 is that of SOCKS (RFC 1928).
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
NONE, ENVIRONMENT = Proxy("none"), Proxy("environment")
_INSTRUCTIONS = {"none": NONE, "environment": ENVIRONMENT}
_CREDENTIALS = re.compile(r"([a-z0-9]+://)([^@/?#]*)@([^@]*)")
_ENTRY = re.compile(
    r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?|[0-9a-f:.]+(/[0-9]+)?"
)


class ProxyUrl(BaseType, frozen=True):
    """``none``, ``environment``, or the URL of a proxy. Credentials are for the environment only."""

    def parse(self, text: str) -> Proxy:
        return _INSTRUCTIONS.get(text) or self._url(text)

    def check(self, value: object) -> Proxy:
        if isinstance(value, str) and "@" in value:
            raise InvalidValue(
                "a proxy without credentials", "name a variable that holds its URL in proxy_env"
            )
        proxy: Proxy = super().check(value)
        return proxy

    def show(self, value: object) -> object:
        return mask_url(value) if isinstance(value, str) and value.count("@") < 2 else MASK

    def _url(self, text: str) -> Proxy:
        if not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidValue(self.expected)
        match = _CREDENTIALS.fullmatch(text)
        if "@" in text and match is None:
            raise InvalidValue(
                self.expected, "percent-encode special characters of the user and the password"
            )
        url, credentials = (match[1] + match[3], unquote(match[2])) if match else (text, "")
        if ":" not in url:
            raise InvalidValue(self.expected)
        parts = split_url(url if "://" in url else f"http://{url}", tuple(PORTS))
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidValue(self.expected, "a proxy has no path")
        if match and (":" not in credentials or not credentials.isprintable()):
            raise InvalidValue(self.expected, "credentials are user:password")
        host, scheme = parts.hostname or "", parts.scheme.lower()
        secret = Secret(credentials) if credentials else None
        return Proxy(scheme, host, parts.port or PORTS[scheme], secret)


class NoProxy(BaseType, frozen=True):
    """Hosts separated by commas, or a list in the file."""

    def parse(self, text: str) -> tuple[str, ...]:
        return self.check(entries(text))

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
            raise InvalidValue(self.expected)
        found = tuple(dict.fromkeys(entry.strip().lower() for entry in value))
        for place, entry in enumerate(found, 1):
            if not _ENTRY.fullmatch(entry) or ("/" in entry and _network(entry) is None):
                raise InvalidValue(self.expected, f"see entry {place}")
        return found


def entries(text: str) -> list[str]:
    """Split a list as ``NO_PROXY`` has it: by commas or spaces."""
    return [entry for entry in re.split(r"[,\s]+", text.lower()) if entry]


def bypasses(host: str, port: int, listed: Iterable[str]) -> bool:
    """Whether an upstream is reached without the proxy, as curl reads ``NO_PROXY``.

    An entry is ``*``, an address, a network (``10.0.0.0/8``), or a domain, which stands for its subdomains
    too, with a dot before it or without. A port after it limits it to that port. Names are not resolved.
    """
    address = _network(host)
    for entry in listed:
        name, at = _with_port(entry)
        if at not in (None, port):
            continue
        if name == "*":
            return True
        network = _network(name)
        if network is not None:
            if address is not None and network.version == address.version and address.subnet_of(network):  # type: ignore[arg-type]
                return True
        elif address is None and f".{host.lower().rstrip('.')}".endswith(f".{name.strip('.')}"):
            return True
    return False


def is_loopback(host: str) -> bool:
    """Whether the host is this machine: no general proxy can reach it."""
    address = _network(host)
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


def proxy_for(
    url: str, own: Proxy | None, general: Proxy | None, no_proxy: Iterable[str], environ: Mapping[str, str]
) -> Proxy | None:
    """Return the proxy on the way to an upstream; ``None``: the gateway connects directly.

    An upstream's own setting counts first. The general one spares this machine's addresses and ``no_proxy``.

    :param own: the upstream's setting. :param general: the general one. :param environ: is read for
        ``HTTPS_PROXY`` and its kin only if the setting that counts is ``environment``.
    :raises InvalidValue: a variable holds no proxy.
    """
    chosen, parts = own or general, urlsplit(url)
    if chosen is None or chosen.scheme == "none" or parts.scheme not in ("http", "https"):
        return None
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if own is None and (is_loopback(host) or bypasses(host, port, no_proxy)):
        return None
    return from_environment(url, environ) if chosen.scheme == "environment" else chosen


def from_environment(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that the environment's variables name for an upstream, as curl reads them.

    :raises InvalidValue: the variable holds no proxy.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    text = next((value for name in variables(parts.scheme) if (value := environ.get(name))), "")
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not text or is_loopback(host) or bypasses(host, port, entries(excluded)):
        return None
    try:
        return ProxyUrl("a proxy")._url(text)
    except InvalidValue as unfit:
        names = " or ".join(name.upper() for name in (f"{parts.scheme}_proxy", "all_proxy"))
        raise InvalidValue(f"a proxy in {names}", unfit.hint, MASK) from None


def variables(scheme: str) -> tuple[str, ...]:
    """The variables that name the proxy for a URL's scheme, the first that is set counts."""
    names = (f"{scheme}_proxy", "all_proxy")
    return tuple(spelling for name in names for spelling in (name, name.upper()))


def _with_port(entry: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[.*\]|[^:]*):([0-9]+)", entry)
    name, port = (match[1], int(match[2])) if match else (entry, None)
    return name.strip("[]"), port


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
