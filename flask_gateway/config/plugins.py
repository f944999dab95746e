"""Reads the tables ``[plugins.NAME]``: what to load, for which calls, and the options of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from .body_fields import is_json
from .errors import ConfigError, InvalidValue, Mistakes, dotted
from .schema import MASK, PluginSettings, Secret
from .secrets import SecretRef, Variable
from .value_types import BaseType, OneOf, Seconds, TextLine, TextLines, ValueType

#: The end of the name of an option that names an environment variable.
_OF_VARIABLE = "_env"
_VARIABLE = Variable("the name of an environment variable")
_VALUE = TextLine("text on one line")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_USE = re.compile(r"[A-Za-z0-9][\w.-]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII).fullmatch


class PluginName(BaseType, frozen=True):
    """The name of an entry point, or ``module:name``."""

    def parse(self, text: str) -> str:
        if not _USE(text):
            raise InvalidValue(self.expected)
        return text


class PluginOptions(BaseType, frozen=True):
    """A table of arguments for a plugin's constructor; in the file only."""

    def check(self, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise InvalidValue(self.expected)
        for name, option in value.items():
            if not _IDENTIFIER(name):
                raise InvalidValue(self.expected, "the name of each is one word of letters, digits and _")
            if not is_json(option):
                raise InvalidValue(self.expected, f"see {name}: write a date as text")
            if name.endswith(_OF_VARIABLE):
                _VARIABLE.check(option)
                if name.removesuffix(_OF_VARIABLE) in value:
                    raise InvalidValue(self.expected, f"{name} and {name.removesuffix(_OF_VARIABLE)} are one")
        return value

    def show(self, value: object) -> object:
        return MASK


#: The fields of ``[plugins.NAME]``.
PLUGIN: Mapping[str, ValueType] = {
    "use": PluginName("the name of an installed plugin, or module:name"),
    "models": TextLines("a list of one or more names of models, in which * stands for any text"),
    "keys": TextLines("a list of one or more names of keys, in which * stands for any text"),
    "on_error": OneOf("refuse or pass", ("refuse", "pass")),
    "budget_ms": Seconds("a number of milliseconds"),
    "options": PluginOptions('a table of options, such as { url = "…", token_env = "TOKEN" }'),
}


class FilePlugin(NamedTuple):
    """A plugin of the file, and the variables that its options name."""

    settings: PluginSettings
    refs: Mapping[str, SecretRef]


def plugin_of(name: str, fields: Mapping[str, Any]) -> FilePlugin:
    """The plugin among its checked fields.

    :raises ConfigError: ``use`` is missing.
    """
    path = dotted("plugins", name)
    if "use" not in fields:
        raise ConfigError(f"{path}.use", None, PLUGIN["use"].expected, "it is missing")
    options = dict(fields.get("options", {}))
    refs = {
        option.removesuffix(_OF_VARIABLE): SecretRef(f"{path}.options.{option}", options.pop(option))
        for option in list(options)
        if option.endswith(_OF_VARIABLE)
    }
    values = {field: fields[field] for field in fields if field not in ("use", "options")}
    return FilePlugin(PluginSettings(name=name, use=fields["use"], options=options, **values), refs)


def plugins_in_force(
    plugins: tuple[FilePlugin, ...], environ: Mapping[str, str], mistakes: Mistakes
) -> Iterator[PluginSettings]:
    """Yield the plugins with the values of the variables that their options name."""
    for plugin in plugins:
        with mistakes:
            secrets = {name: Secret(ref.follow(environ, _VALUE)) for name, ref in plugin.refs.items()}
            yield msgspec.structs.replace(plugin.settings, secrets=secrets)


def shown_plugin(plugin: PluginSettings) -> str:
    """Describe a plugin in one line, without the values of its options."""
    text = plugin.use
    for what, names in (("models", plugin.models), ("keys", plugin.keys)):
        text += f", {what} {' and '.join(sorted(names))}" if names is not None else ""
    text += f", on error {plugin.on_error}" if plugin.on_error is not None else ""
    text += f", budget {plugin.budget_ms:g} ms" if plugin.budget_ms is not None else ""
    options = sorted({*plugin.options, *plugin.secrets})
    return text + (f", options {', '.join(options)}" if options else "")
