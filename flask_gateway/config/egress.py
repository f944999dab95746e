"""Resolves how each upstream is reached: the authorities that verify it, the client certificate, the proxy.

For each, the first of these counts: the upstream's variable, its table in the file, the general variable, the
top of the file. Authorities and proxies can also come from variables that other programs use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .authorities import from_environment, read_authorities
from .client_certificates import read_client_certificate
from .errors import ConfigError, InvalidValue, Mistakes, dotted
from .file_egress import FileEgress
from .file_upstream import FileUpstream
from .options import CA_FILE, CLIENT_CERT, CLIENT_KEY, EGRESS, PROXY, Option, upstream_variable
from .proxy_url import is_loopback, proxy_for, variables
from .schema import Authorities, ClientCertificate, Proxy, UpstreamSettings
from .secrets import SecretRef
from .upstream_url import split_url


class EgressSettings(msgspec.Struct, frozen=True):
    """The general settings, or those of one upstream."""

    ca_file: Authorities | None = None
    client_cert: ClientCertificate | None = None
    client_key: str | None = None
    proxy: Proxy | None = None
    no_proxy: tuple[str, ...] = ()


class _Place(msgspec.Struct, frozen=True):
    """Where one value stands: the setting's name for errors, and the value."""

    setting: str
    value: Any


class EgressLayers:
    """Looks the settings up in the environment and in the file.

    :param parse: parses the value of a variable; raises :class:`ConfigError`.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        file: FileEgress,
        mistakes: Mistakes,
        parse: Callable[[Mapping[str, str], str, Option], Any],
    ) -> None:
        self._environ = environ
        self._file = file
        self._mistakes = mistakes
        self._parse = parse

    def general(self, no_proxy: tuple[str, ...], *, tls: bool) -> EgressSettings:
        """:param tls: whether any upstream uses TLS. If none does, OpenSSL's variables are not read."""
        places = self._places(self._file, lambda option: option.variable, ())
        key, proxy = places[CLIENT_KEY.name], self._proxy(places)
        tls = tls or (proxy is not None and proxy.scheme == "https")
        return EgressSettings(
            ca_file=self._authorities(places, tls),
            client_cert=self._certificate(places),
            client_key=None if key is None else str(key.value),
            proxy=proxy,
            no_proxy=no_proxy,
        )

    def of(self, upstream: FileUpstream, general: EgressSettings) -> EgressSettings:
        """The settings in force for one upstream."""
        places = self._places(
            upstream.egress,
            lambda option: upstream_variable(upstream.name, option),
            ("upstreams", upstream.name),
        )
        tls, proxy = upstream.url.startswith("https:"), None
        ca_file = self._authorities(places, False) or general.ca_file
        certificate = self._certificate(places) or general.client_cert
        with self._mistakes:
            proxy = self._proxy_for(upstream, self._proxy(places), general)
        verifies = tls or (proxy is not None and proxy.scheme == "https")
        return EgressSettings(
            ca_file=ca_file if verifies else None, client_cert=certificate if tls else None, proxy=proxy
        )

    def _places(
        self, file: FileEgress, variable: Callable[[Option], str], path: tuple[str, ...]
    ) -> dict[str, _Place | None]:
        places: dict[str, _Place | None] = {}
        for option in EGRESS:
            places[option.name] = None
            value = getattr(file, option.name)
            if value is not None:
                places[option.name] = _Place(dotted(*path, option.name), value)
            if (name := variable(option)) in self._environ:
                with self._mistakes:
                    places[option.name] = _Place(name, self._parse(self._environ, name, option))
        return places

    def _authorities(self, places: Mapping[str, _Place | None], fall_back: bool) -> Authorities | None:
        place = places[CA_FILE.name]
        with self._mistakes:
            if place is not None:
                return read_authorities(place.setting, Path(place.value))
            return from_environment(self._environ) if fall_back else None
        return None

    def _certificate(self, places: Mapping[str, _Place | None]) -> ClientCertificate | None:
        place, key = places[CLIENT_CERT.name], places[CLIENT_KEY.name]
        with self._mistakes:
            if place is None and key is not None:
                setting = key.setting.replace("client_key", "client_cert").replace(
                    "CLIENT_KEY", "CLIENT_CERT"
                )
                raise ConfigError(
                    setting, None, CLIENT_CERT.kind.expected, f"{key.setting} is set without it"
                )
            if place is not None:
                path = None if key is None else Path(key.value)
                return read_client_certificate(
                    place.setting, Path(place.value), key.setting if key else "", path
                )
        return None

    def _proxy(self, places: Mapping[str, _Place | None]) -> Proxy | None:
        place = places[PROXY.name]
        if place is None or isinstance(place.value, Proxy):
            return None if place is None else place.value
        reference: SecretRef = place.value
        with self._mistakes:
            proxy: Proxy = PROXY.kind.parse(reference.follow(self._environ, PROXY.kind))
            return proxy
        return None

    def _proxy_for(self, upstream: FileUpstream, own: Proxy | None, general: EgressSettings) -> Proxy | None:
        try:
            return proxy_for(upstream.url, own, general.proxy, general.no_proxy, self._environ)
        except InvalidValue as unfit:
            setting = dotted("upstreams", upstream.name, "proxy")
            raise ConfigError(setting, unfit.shown, unfit.expected, unfit.hint) from None


def unused_proxy(
    upstreams: Sequence[UpstreamSettings], general: EgressSettings, environ: Mapping[str, str]
) -> str | None:
    """Return a warning if a proxy variable is set that other programs would use and the gateway does not."""
    if general.proxy is not None:
        return None
    for upstream in upstreams:
        if upstream.proxy is None and upstream.url.startswith(("http:", "https:")):
            parts = split_url(upstream.url, ("http", "https"))
            name = next((name for name in variables(parts.scheme) if environ.get(name)), None)
            if name is not None and not is_loopback(parts.hostname or ""):
                return (
                    f"{name} is set, and the gateway does not use it: {PROXY.variable}=environment uses "
                    f"it, {PROXY.variable}=none says that this is meant"
                )
    return None
