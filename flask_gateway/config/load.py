"""Loads ``Settings``: the environment wins over the file, and the file over the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .admins import OF_ENVIRONMENT, AdminSettings, session_secret
from .cache import in_force
from .egress import EgressLayers, EgressSettings, unused_proxy
from .errors import ConfigError, InvalidValue, Mistakes, dotted, nearest
from .file_upstream import FileUpstream
from .hints import VARIABLES
from .kinds import KINDS
from .limits_checks import refuse_unkept_limits, refuse_unusable_admins, refuse_unused_prices
from .options import (
    ADMIN_KEY,
    API_KEYS,
    CONFIG,
    EGRESS,
    FALLBACKS,
    METRICS_KEY,
    NO_PROXY,
    OPTIONS,
    PER_UPSTREAM,
    PREFIX,
    SCALARS,
    SERVER,
    UPSTREAM_API_KEY,
    UPSTREAM_MAX_IN_FLIGHT,
    UPSTREAMS,
    Option,
    upstream_variable,
)
from .plugins import plugins_in_force
from .schema import MASK, KeySettings, LedgerSettings, Secret, Settings, Timeouts, UpstreamSettings
from .secrets import SecretRef, digest
from .toml_file import FileAdmin, FileKey, FileSettings, read_file
from .traces import traces_of
from .upstream_url import base_url
from .value_types import UpstreamUrl, refuse_wrapped
from .warnings import Origin, warnings

#: Variables that Kubernetes sets in every container of a namespace with a Service named "gateway".
_KUBERNETES = re.compile(r"GATEWAY_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?)")


#: systemd's variable with the directories of ``StateDirectory=``, separated by colons (systemd.exec(5)).
STATE_DIRECTORY = "STATE_DIRECTORY"


class Resolved(msgspec.Struct, frozen=True):
    """The settings, and the source of each by its dotted path.

    :param server: the path of the file, and the server's settings, which are not in ``Settings``. The value
        is ``None`` if it is not set and has no fixed default.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    server: Mapping[str, object]


def load(environ: Mapping[str, str]) -> Settings:
    """Load the settings. Reads only the files that they name. Raises :class:`ConfigError`."""
    return resolve(environ).settings


def resolve(environ: Mapping[str, str]) -> Resolved:
    """Load the settings with the source of each.

    Values are compared with each other only when each is valid by itself.

    :raises ConfigError: there are mistakes; the error holds all of them.
    """
    mistakes = Mistakes()
    layers = _Layers(environ, mistakes)
    upstreams = tuple(layers.upstreams())
    _refuse_unknown(environ, layers, mistakes)
    scalars = {option.name: layers.scalar(option) for option in SCALARS}
    scalars["answer_timeout_seconds"] = layers.answer_timeout(
        scalars["answer_timeout_seconds"], scalars["request_timeout_seconds"]
    )
    scalars.update((name, getattr(layers.egress, name)) for name in EgressSettings.__struct_fields__)
    if layers.egress.proxy is not None and layers.origins["proxy"] is Origin.DEFAULT:
        layers.origins["proxy"] = Origin.FILE  # through proxy_env
    if layers.egress.ca_file is not None and layers.origins["ca_file"] is Origin.DEFAULT:
        layers.origins["ca_file"] = Origin.ENVIRONMENT  # a variable of OpenSSL set it
    if scalars["default_upstream"] is None and len(upstreams) == 1:
        scalars["default_upstream"] = upstreams[0].name
    keys = tuple(layers.keys())
    metrics_key, fallbacks = layers.scalar(METRICS_KEY), layers.scalar(FALLBACKS)
    admins = tuple(layers.admins())
    traces = traces_of(environ, mistakes)
    plugins = tuple(plugins_in_force(layers.file.plugins, environ, mistakes))
    server = {option.name: layers.scalar(option) for option in (CONFIG, *SERVER)}
    mistakes.raise_found()
    settings = Settings(
        keys=keys,
        upstreams=upstreams,
        models=layers.file.models,
        fallbacks=fallbacks or {},
        teams=layers.file.teams,
        limits=layers.file.limits,
        ledger=layers.ledger(),
        prices=layers.file.prices,
        metrics_digest=None if metrics_key is None else digest(metrics_key),
        admins=admins,
        config=layers.scalar(CONFIG),
        traces=traces,
        plugins=plugins,
        cache=in_force(layers.file.cache, environ),
        **scalars,
    )
    _refuse_missing_upstreams(settings, layers.origins, mistakes)
    _refuse_equal_aliases(settings, mistakes)
    refuse_unkept_limits(settings, mistakes)
    refuse_unusable_admins(settings, mistakes)
    refuse_unused_prices(settings, mistakes)
    with mistakes:
        _refuse_equal_keys(keys)
    mistakes.raise_found()
    unused = unused_proxy(upstreams, layers.egress, environ)
    found = (*layers.file.warnings, *warnings(settings, layers.origins), *([unused] if unused else ()))
    return Resolved(
        settings=msgspec.structs.replace(settings, warnings=found),
        origins=layers.origins,
        server=server,
    )


class _Layers:
    """Looks settings up in the environment, the file and the defaults. Records the source in ``origins``."""

    def __init__(self, environ: Mapping[str, str], mistakes: Mistakes) -> None:
        self.environ = environ
        self.mistakes = mistakes
        self.origins: dict[str, Origin] = {}
        #: The names of the upstreams; empty until they are listed.
        self.names: tuple[str, ...] = ()
        self.file = FileSettings()
        #: How upstreams are reached that do not say so themselves. :meth:`upstreams` reads it.
        self.egress = EgressSettings()
        path = self.scalar(CONFIG)
        if path is not None:
            with mistakes:
                self.file = read_file(path)

    def scalar(self, option: Option) -> Any:
        """The value of a setting; its default when the value is a mistake."""
        default = None if option.default is None else option.kind.parse(option.default)
        with self.mistakes:
            return self._scalar(option, default)
        return default

    def _scalar(self, option: Option, default: Any) -> Any:
        if option.variable in self.environ:
            self.origins[option.name] = Origin.ENVIRONMENT
            return _parse(self.environ, option.variable, option)
        self.origins[option.name] = Origin.FILE
        if option.in_file and option.name in self.file.scalars:
            return self.file.scalars[option.name]
        if option.name == "state" and self.file.state is not None:
            return self.file.state.follow(self.environ, option.kind)
        self.origins[option.name] = Origin.DEFAULT
        return default

    def upstreams(self) -> Iterator[UpstreamSettings]:
        """The upstreams of the environment, else of the file, else the mock. Variables override fields."""
        variables: dict[str, str] = {}
        listed = self._listed_upstreams()
        reached = EgressLayers(self.environ, self.file.egress, self.mistakes, _parse)
        tls = any(upstream.url.startswith("https:") for upstream in listed)
        self.egress = reached.general(self.scalar(NO_PROXY) or (), tls=tls)
        for upstream in listed:
            path = ("upstreams", upstream.name)
            variable = upstream_variable(upstream.name, UPSTREAM_API_KEY)
            if variable in variables:
                hint = f"{variables[variable]} has that one too"
                expected = f"a name that makes {variable} its own"
                self.mistakes.add(ConfigError(dotted(*path), None, expected, hint))
            variables[variable] = upstream.name
            egress, kind = reached.of(upstream, self.egress), KINDS[upstream.kind]
            api_key = self._upstream_key(upstream)
            set_here = (each for each in EGRESS if upstream_variable(upstream.name, each) in self.environ)
            self.origins.update((dotted(*path, each.name), Origin.ENVIRONMENT) for each in set_here)
            yield UpstreamSettings(
                name=upstream.name,
                url=upstream.url,
                api_key=api_key,
                key_command=upstream.key_command if api_key is None else None,
                max_in_flight=self._max_in_flight(upstream),
                stream_usage=kind.stream_usage if upstream.stream_usage is None else upstream.stream_usage,
                list_models=upstream.list_models,
                prices=upstream.prices,
                provider=upstream.provider,
                continues=upstream.continues,
                ca_file=egress.ca_file,
                client_cert=egress.client_cert,
                proxy=egress.proxy,
                clocks=self._clocks(upstream),
                kind=upstream.kind,
                speaks=upstream.speaks,
                raw=upstream.raw,
                quirks=upstream.quirks,
            )

    def _listed_upstreams(self) -> tuple[FileUpstream, ...]:
        if UPSTREAMS.variable not in self.environ and self.file.upstreams:
            listed, origin = tuple(map(self._with_url, self.file.upstreams)), Origin.FILE
        else:
            pairs = self.scalar(UPSTREAMS)
            listed = tuple(FileUpstream(name=name, url=url) for name, url in pairs)
            origin = self.origins[UPSTREAMS.name]
        self.origins.update((dotted("upstreams", upstream.name), origin) for upstream in listed)
        self.names = tuple(upstream.name for upstream in listed)
        return listed

    def _with_url(self, upstream: FileUpstream) -> FileUpstream:
        """The upstream with the URL that its ``url_env`` names; unchanged if it names none."""
        if upstream.url_ref is None:
            return upstream
        with self.mistakes:
            url = upstream.url_ref.follow(self.environ, UpstreamUrl("the URL of an upstream")).rstrip("/")
            path = "" if url.endswith(upstream.url_path) else upstream.url_path
            return msgspec.structs.replace(upstream, url=base_url(url + path))
        return upstream

    def _upstream_key(self, upstream: FileUpstream) -> Secret | None:
        path = dotted("upstreams", upstream.name, "api_key")
        variable = upstream_variable(upstream.name, UPSTREAM_API_KEY)
        with self.mistakes:
            if variable in self.environ:
                self.origins[path] = Origin.ENVIRONMENT
                return Secret(_parse(self.environ, variable, UPSTREAM_API_KEY))
            if upstream.api_key is not None:
                self.origins[path] = Origin.FILE
                return Secret(upstream.api_key.follow(self.environ, UPSTREAM_API_KEY.kind))
        return None

    def _clocks(self, upstream: FileUpstream) -> Timeouts | None:
        """The upstream's timeouts in the file, or of its kind; the general settings give the others."""
        own = {**KINDS[upstream.kind].clocks, **upstream.clocks}
        if not own:
            return None
        scalars = {option.name: option for option in SCALARS}
        silence = self.scalar(scalars["request_timeout_seconds"])
        answer = self.answer_timeout(self.scalar(scalars["answer_timeout_seconds"]), silence)
        return Timeouts.within(silence, answer).with_own(own)

    def answer_timeout(self, answer: float, silence: float) -> float:
        """Raise the default to a longer ``request_timeout_seconds``.

        Before ``answer_timeout_seconds`` existed, ``request_timeout_seconds`` bounded whole answers too.
        """
        return max(answer, silence) if self.origins["answer_timeout_seconds"] is Origin.DEFAULT else answer

    def _max_in_flight(self, upstream: FileUpstream) -> int:
        path = dotted("upstreams", upstream.name, "max_in_flight")
        variable = upstream_variable(upstream.name, UPSTREAM_MAX_IN_FLIGHT)
        if variable in self.environ:
            self.origins[path] = Origin.ENVIRONMENT
            with self.mistakes:
                value: int = _parse(self.environ, variable, UPSTREAM_MAX_IN_FLIGHT)
                return value
            return 0
        self.origins[path] = Origin.DEFAULT if upstream.max_in_flight is None else Origin.FILE
        return upstream.max_in_flight or 0

    def keys(self) -> Iterator[KeySettings]:
        """The keys of the environment, else of the file, else ``dev-key``."""
        if API_KEYS.variable not in self.environ and self.file.keys:
            for held in self.file.keys:
                self.origins[dotted("keys", held.name)] = Origin.FILE
                with self.mistakes:
                    yield self._file_key(held)
            return
        for secret in self.scalar(API_KEYS):
            hashed = digest(secret)
            name = f"key-{hashed.hex()[:8]}"
            self.origins[dotted("keys", name)] = self.origins[API_KEYS.name]
            yield KeySettings(id=name, digest=hashed, length=len(secret))

    def ledger(self) -> LedgerSettings:
        """The ledger of the file. Its directory is by default the one that systemd made for the service."""
        made, _, _ = self.environ.get(STATE_DIRECTORY, "").partition(":")
        ledger = self.file.ledger
        if ledger.data is None and made.startswith("/"):
            self.origins["ledger.data"] = Origin.ENVIRONMENT
            ledger = msgspec.structs.replace(ledger, data=made)
        with self.mistakes:
            return self.file.webhook.in_force(ledger, self.environ)
        return ledger  # the mistake stops the start

    def admins(self) -> Iterator[AdminSettings]:
        """The admin of the environment, and those of the file."""
        key = self.scalar(ADMIN_KEY)
        if key is not None:
            self.origins[dotted("admins", OF_ENVIRONMENT)] = Origin.ENVIRONMENT
            yield AdminSettings(name=OF_ENVIRONMENT, digest=digest(key), secret=session_secret(key))
        for one in self.file.admins:
            self.origins.setdefault(dotted("admins", one.name), Origin.FILE)
            with self.mistakes:
                yield self._file_admin(one)

    def _file_admin(self, one: FileAdmin) -> AdminSettings:
        held, secret = one.held, b""
        if isinstance(held, SecretRef):
            key = held.follow(self.environ, ADMIN_KEY.kind)
            held, secret = digest(key), session_secret(key)
        return AdminSettings(name=one.name, digest=held, role=one.role, secret=secret)

    def _file_key(self, key: FileKey) -> KeySettings:
        held, length = key.held, None
        if isinstance(held, SecretRef):
            secret = held.follow(self.environ, UPSTREAM_API_KEY.kind)
            held, length = digest(secret), len(secret)
        return KeySettings(
            id=key.name,
            digest=held,
            rate_limit_per_minute=key.rate_limit_per_minute,
            models=key.models,
            length=length,
            max_concurrent=key.max_concurrent,
            team=key.team,
            tags=key.tags,
            policy=key.policy,
        )


def _parse(environ: Mapping[str, str], variable: str, option: Option) -> Any:
    text = environ[variable]
    try:
        refuse_wrapped(text, option.kind.expected)
        return option.kind.parse(text)
    except InvalidValue as unfit:
        shown = option.kind.show(text) if unfit.shown is None else unfit.shown
        raise ConfigError(variable, shown, unfit.expected, unfit.hint) from None


def _refuse_unknown(environ: Mapping[str, str], layers: _Layers, mistakes: Mistakes) -> None:
    if mistakes.any:
        return  # an invalid file or list of upstreams might have named further variables
    known = {option.variable for option in OPTIONS}
    known.update(upstream_variable(name, option) for name in layers.names for option in PER_UPSTREAM)
    accepted = known.union(layers.file.variables())
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in accepted:
            hint = VARIABLES.get(name.removeprefix(PREFIX)) or nearest(name, known)
            if _KUBERNETES.fullmatch(name):
                hint = "Kubernetes sets it for a Service named gateway: turn enableServiceLinks off"
            # The value may be a key under a mistyped name.
            mistakes.add(ConfigError(name, MASK, "a known setting", hint))


def _refuse_missing_upstreams(settings: Settings, origins: Mapping[str, Origin], mistakes: Mistakes) -> None:
    names = {upstream.name for upstream in settings.upstreams}
    default = settings.default_upstream
    if default is not None and default not in names:
        in_file = origins["default_upstream"] is Origin.FILE
        setting = "default_upstream" if in_file else PREFIX + "DEFAULT_UPSTREAM"
        mistakes.add(_missing_upstream(setting, default, names))
    for model in settings.models:
        for candidate in (candidate for tier in model.tiers for candidate in tier):
            if candidate.upstream not in names:
                setting = dotted("models", model.name, "upstream")
                mistakes.add(_missing_upstream(setting, candidate.upstream, names))
    for candidate in (candidate for chain in settings.fallbacks.values() for candidate in chain):
        if candidate.upstream not in names:
            mistakes.add(_missing_upstream(FALLBACKS.variable, candidate.upstream, names))


def _missing_upstream(setting: str, upstream: str, names: set[str]) -> ConfigError:
    hint = nearest(upstream, names) or f"there are {', '.join(sorted(names))}"
    return ConfigError(setting, upstream, "the name of an upstream that is set", hint)


def _refuse_equal_aliases(settings: Settings, mistakes: Mistakes) -> None:
    owners = {model.name: model.name for model in settings.models}
    for model in settings.models:
        for alias in model.aliases:
            if owners.setdefault(alias, model.name) != model.name or alias == model.name:
                setting, hint = dotted("models", model.name, "aliases"), f"{owners[alias]} has it"
                mistakes.add(ConfigError(setting, alias, "a name that no other model has", hint))


def _refuse_equal_keys(keys: tuple[KeySettings, ...]) -> None:
    ids: dict[bytes, str] = {}
    for key in keys:
        if key.digest in ids:
            raise ConfigError(
                dotted("keys", key.id), None, "a key of its own", f"it is the key of {ids[key.digest]}"
            )
        ids[key.digest] = key.id
