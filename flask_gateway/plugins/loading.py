"""Imports and makes the plugins that the settings name, and nothing else that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..config.errors import ConfigError, dotted, nearest
from ..config.schema import PluginSettings
from ..model.call import Operation
from ..plugin import API, TEXT
from .hooks import INSPECTABLE, METHODS, REWRITABLE, Hook
from .loaded import Loaded, PluginCounts

#: The group of entry points under which packages offer plugins.
GROUP = "flask_gateway.plugins"
#: The plugins that come with the gateway, as ``.module:name`` below ``flask_gateway``.
SHIPPED: Mapping[str, str] = {"jwt": ".jwt_auth.authenticator:JwtAuthenticator"}


def load(settings: PluginSettings, counts: PluginCounts, make: Callable[..., object] | None = None) -> Loaded:
    """Import a plugin and make it.

    :param make: makes it, in place of what the settings name.
    :raises ConfigError: it cannot be found, imported or made, or is no plugin of this version.
    """
    path = dotted("plugins", settings.name)
    make = make or _found(settings.use, f"{path}.use")
    options = {**settings.options, **{name: value.reveal() for name, value in settings.secrets.items()}}
    try:
        instance = make(**options)
    except Exception as error:  # noqa: BLE001  # of code that is not ours: it must not end in a traceback
        raise _unmade(path, settings, error) from None
    hooks = frozenset(hook for hook, method in METHODS.items() if callable(getattr(instance, method, None)))
    try:
        _check(instance, hooks, settings, path)
        return Loaded(settings, instance, hooks, _operations(instance, hooks, path), counts)
    except ConfigError:
        close(instance)
        raise


def close(instance: Any) -> None:
    """Call ``close()`` of a plugin, if it has one."""
    end = getattr(instance, "close", None)
    if callable(end):
        end()


def _found(use: str, setting: str) -> Callable[..., Any]:
    shipped, use = use, SHIPPED.get(use, use)
    try:
        found = _attribute(use) if ":" in use else _entry_point(use, setting).load()
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # importing runs code that is not ours
        hint = None
        if isinstance(error, ModuleNotFoundError):
            extra = f"in a clone: .venv/bin/pip install '.[{shipped}]'"
            hint = extra if shipped in SHIPPED else "set PYTHONPATH to its folder"
        raise ConfigError(setting, use, f"a plugin that can be imported ({_told(error)})", hint) from None
    if not callable(found):
        raise ConfigError(setting, use, "a class, or a function that returns a plugin")
    made: Callable[..., Any] = found
    return made


def _attribute(use: str) -> Any:
    module, _, name = use.partition(":")
    found: Any = import_module(module, __package__.rpartition(".")[0])
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _entry_point(name: str, setting: str) -> EntryPoint:
    offered = entry_points(group=GROUP)
    found = {point.value: point for point in offered if point.name == name}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        hint = f"there are {' and '.join(sorted(found))}"
        raise ConfigError(setting, name, "a name that one package has", hint)
    names = sorted({point.name for point in offered} | SHIPPED.keys())
    hint = nearest(name, names) or "write module:name for one that is not installed as a plugin"
    raise ConfigError(setting, name, "the name of an installed plugin", hint)


def _unmade(path: str, settings: PluginSettings, error: Exception) -> ConfigError:
    # A plugin's own message may say what is wrong, unless it repeats a secret.
    told = _told(error)
    if any(secret.reveal() in told for secret in settings.secrets.values()):
        told = type(error).__name__
    elif isinstance(error, ConfigError):
        return ConfigError(f"{path}.options.{error.setting}", error.value, error.expected, error.hint)
    return ConfigError(path, settings.use, f"a plugin that can be made of its options ({told})")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _check(instance: Any, hooks: frozenset[Hook], settings: PluginSettings, path: str) -> None:
    api = getattr(instance, "api", API)
    if api != API:
        raise ConfigError(path, settings.use, f"a plugin for version {API} of the interface, not {api!r}")
    if not hooks:
        raise ConfigError(path, settings.use, f"a plugin: it has none of {', '.join(METHODS.values())}")
    if hooks == {Hook.OBSERVE} and settings.on_error == "refuse":
        raise ConfigError(f"{path}.on_error", "refuse", "pass: an observer sees a call when it has ended")


def _operations(instance: Any, hooks: frozenset[Hook], path: str) -> frozenset[Operation]:
    """The operations that the plugin can see.

    :raises ConfigError: it names one that its hooks cannot see.
    """
    declared = getattr(instance, "operations", None)
    possible = frozenset(Operation)
    if Hook.REWRITE in hooks:
        possible &= REWRITABLE
    if Hook.INSPECT in hooks:
        possible &= INSPECTABLE
    if declared is None:
        return TEXT if possible < frozenset(Operation) else possible
    try:
        named = frozenset(map(Operation, declared))
    except (TypeError, ValueError):
        raise ConfigError(
            path, None, "operations of flask_gateway.plugin.Operation in 'operations'"
        ) from None
    if named - possible:
        unseen = ", ".join(sorted(named - possible))
        raise ConfigError(path, None, f"operations that its hooks can see, which are not: {unseen}")
    return named
