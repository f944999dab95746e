"""Reads the settings next to ``model_list``: each is taken over, or becomes a finding that says why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ...config.errors import nearest
from . import left_out
from .budgets import BUDGET_SETTINGS
from .left_out_general import GENERAL_SETTINGS
from .parameters import OFF_COUNTS, is_secret
from .report import Report
from .values import Environment, reference, seconds, shown, whole
from .yaml_tree import Entry, Node


class FallbackChain(NamedTuple):
    """Fallbacks of a group: ``models`` are asked after it. The group ``*`` stands for all without a chain."""

    line: int
    setting: str
    group: str
    models: tuple[str, ...]


class Alias(NamedTuple):
    line: int
    setting: str
    name: str
    model: str


class Found:
    """The settings that are taken over, with the file's own names. ``None``: not set."""

    def __init__(self) -> None:
        self.timeout: float | None = None
        self.stream_timeout: float | None = None
        self.max_failures: int | None = None
        self.reset_seconds: float | None = None
        self.max_in_flight: int | None = None
        self.max_body_bytes: int | None = None
        self.drops_fields = False
        self.balance = "round_robin"
        #: Whether calls are spread by ``rpm`` and ``tpm``, as ``simple-shuffle`` does.
        self.is_shuffled = True
        self.fallbacks: list[FallbackChain] = []
        self.context_fallbacks: list[FallbackChain] = []
        self.aliases: list[Alias] = []
        #: Entries of ``redis_…`` in ``router_settings``, and ``master_key``.
        self.redis: dict[str, Entry] = {}
        self.master_key: Entry | None = None
        #: The settings of budgets, each with its path.
        self.budgets: dict[str, tuple[Entry, str]] = {}
        #: ``provider_budget_config``, with its path.
        self.provider_budgets: tuple[Entry, str] | None = None


#: The sections of settings, with their names that have no counterpart. A later one wins over an earlier.
_TABLES: Mapping[str, Mapping[str, str]] = {
    "litellm_settings": left_out.LITELLM_SETTINGS,
    "router_settings": left_out.ROUTER_SETTINGS,
    "general_settings": GENERAL_SETTINGS,
}
#: Sections that other modules read.
_OTHERS = ("model_list", "credential_list", "environment_variables")


class Sections:
    """The top level of the file, with doubled sections joined."""

    def __init__(self, root: Node, report: Report) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._report = report
        for entry in root.entries:
            self._entries.setdefault(entry.name, []).append(entry)
        for name, entries in self._entries.items():
            for again in entries[1:]:
                first = entries[0].line
                report.changed(
                    again.line,
                    name,
                    f"it stands twice: LiteLLM reads the last only; here line {first} counts too",
                )

    def joined(self, name: str) -> Node | None:
        """The list or mapping of a section; of several sections, all that they hold."""
        nodes = [entry.node for entry in self._entries.get(name, ())]
        if not nodes:
            return None
        is_mapping = any(node.is_mapping for node in nodes)
        values = tuple(value for node in nodes for value in (node.entries if is_mapping else node.items))
        return Node(nodes[0].line, values, is_mapping=is_mapping)

    def report_others(self) -> None:
        """Report the sections that no module reads."""
        for name, entries in self._entries.items():
            for entry in entries:
                if name in _TABLES or name in _OTHERS:
                    is_list = name in ("model_list", "credential_list")
                    fits = bool(entry.node.items) if is_list else entry.node.is_mapping
                    if not fits and not entry.node.is_off:
                        kind = "list" if is_list else "mapping"
                        self._report.left_out(entry.line, name, f"it is not a {kind}, as LiteLLM reads it")
                elif entry.node.is_off or name.startswith(("x-", ".")):
                    self._report.mapped(entry.line, name, "nothing to take, apart from its anchors")
                else:
                    self._report.left_out(entry.line, name, _reason_for_section(name))


def _reason_for_section(name: str) -> str:
    if name in left_out.SECTIONS:
        return left_out.SECTIONS[name]
    if section := _section_of(name):
        return f"LiteLLM reads it in {section}, not here"
    hint = nearest(name, (*_TABLES, *_OTHERS, *left_out.SECTIONS))
    return f"an unknown section; {hint}" if hint else "an unknown section: LiteLLM does not read it either"


def _section_of(name: str) -> str | None:
    """The section in which LiteLLM reads a name."""
    if name in ("master_key", "max_request_size_mb"):
        return "general_settings"
    if name in _SHARED:
        return "router_settings"
    return next((section for section, table in _TABLES.items() if name in table), None)


def read_sections(sections: Sections, environment: Environment, report: Report) -> Found:
    """The settings of the three sections."""
    reader = _Reader(environment, report)
    for name in _TABLES:
        node = sections.joined(name)
        for entry in node.entries if node is not None else ():
            reader.read(name, entry)
    return reader.found


class _Reader:
    """Takes one setting after another."""

    def __init__(self, environment: Environment, report: Report) -> None:
        self.found = Found()
        self.environment = environment
        self.report = report
        #: Where each setting was read last, to report those that another one replaces.
        self._read: dict[str, tuple[int, str]] = {}

    def read(self, section: str, entry: Entry) -> None:
        setting, name = f"{section}.{entry.name}", entry.name
        take = _SHARED.get(name) if section != "general_settings" else _GENERAL.get(name)
        if take is None:
            self._without(section, entry, setting)
        elif entry.node.is_off:
            self.report.mapped(entry.line, setting, "off, as here")
        else:
            name = "timeout" if name == "request_timeout" else name
            if (before := self._read.get(name)) is not None and name not in _ADDED:
                self.report.changed(
                    before[0], before[1], f"line {entry.line} sets it too, and that one counts"
                )
            self._read[name] = entry.line, setting
            take(self, entry, setting)

    def _without(self, section: str, entry: Entry, setting: str) -> None:
        name, table = entry.name, _TABLES[section]
        if entry.node.is_off and not (name in OFF_COUNTS and entry.node.value is not None):
            self.report.mapped(entry.line, setting, "off, as here")
        elif name in ("json_logs",) and entry.node.value is True:
            self.report.mapped(entry.line, setting, "log = json is the default")
        elif name in table:
            text = _with_names(entry, table[name])
            hides = is_secret(name) or "@" in entry.node.text
            open_secret = hides and reference(entry.node) is None and entry.node.is_scalar
            more = "; it has a secret in the open, which is copied nowhere" if open_secret else ""
            self.report.left_out(entry.line, setting, text + more)
        elif name == "redis_port" or name.startswith("redis_"):
            self.report.left_out(entry.line, setting, "the gateway's state takes one Redis, by its URL")
        elif other := _section_of(name):
            self.report.left_out(entry.line, setting, f"LiteLLM reads it in {other}, not here")
        else:
            hint = nearest(name, (*table, *(_GENERAL if section == "general_settings" else _SHARED)))
            text = f"an unknown name; {hint}" if hint else "an unknown name: LiteLLM does not read it here"
            self.report.left_out(entry.line, setting, text)

    def seconds(self, entry: Entry, setting: str) -> float | None:
        """A number of seconds, also from ``environment_variables``. Report everything else."""
        text = self.environment.text(entry.node)
        value = seconds(entry.node if text is None else Node(entry.line, text, text))
        if isinstance(entry.node.value, int | float) and not isinstance(entry.node.value, bool):
            value = seconds(entry.node)
        if value is None:
            self.report.left_out(entry.line, setting, "it is not a number of seconds that stands in the file")
        return value


#: The names of callbacks. Other text may be a secret.
_WORD = re.compile(r"[a-z_]{2,40}(\.[a-z_]{2,60}){0,3}")


def _with_names(entry: Entry, reason: str) -> str:
    """The reason, with the names of the callbacks that it is about."""
    if "callback" not in entry.name:
        return reason
    names = [item.text for item in entry.node.items if item.is_scalar] or [entry.node.text]
    known = [name for name in names if _WORD.fullmatch(name)]
    return f"{', '.join(known)}: {reason}" if known else reason


def _timeout(reader: _Reader, entry: Entry, setting: str) -> None:
    value = reader.seconds(entry, setting)
    if value is not None:
        reader.found.timeout = value
        text = f"answer_timeout_seconds = {shown(value)} and total_seconds of each upstream"
        reader.report.mapped(
            entry.line, setting, f"{text}; silence in a stream up to {shown(min(value, 300))} s"
        )


def _stream_timeout(reader: _Reader, entry: Entry, setting: str) -> None:
    value = reader.seconds(entry, setting)
    if value is not None:
        reader.found.stream_timeout = value
        reader.report.mapped(entry.line, setting, f"first_token_seconds = {shown(value)} of each upstream")


def _allowed_fails(reader: _Reader, entry: Entry, setting: str) -> None:
    count = 0 if entry.node.text.strip() == "0" else whole(entry.node, 9_999_999)
    if count is None:
        reader.report.left_out(entry.line, setting, "it is not a positive whole number")
        return
    reader.found.max_failures = count + 1
    text = f"circuit_breaker_max_failures = {count + 1}: failures in a row, not in a minute"
    reader.report.changed(entry.line, setting, text)


def _cooldown_time(reader: _Reader, entry: Entry, setting: str) -> None:
    if entry.node.text.strip() in ("0", "0.0"):
        reader.report.left_out(entry.line, setting, left_out.ROUTER_SETTINGS["disable_cooldowns"])
        return
    value = reader.seconds(entry, setting)
    if value is not None:
        reader.found.reset_seconds = value
        reader.report.mapped(entry.line, setting, f"circuit_breaker_reset_seconds = {shown(value)}")


def _strategy(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.is_shuffled = entry.node.text == "simple-shuffle"
    balance = {"simple-shuffle": "round_robin", "least-busy": "least_requests"}.get(entry.node.text)
    if balance is None:
        text = "balance = round_robin: the gateway does not balance by latency, usage or cost"
        reader.report.changed(entry.line, setting, text)
        return
    reader.found.balance = balance
    reader.report.mapped(entry.line, setting, f"balance = {balance}")


def _chains(entry: Entry, setting: str, report: Report) -> Iterator[FallbackChain]:
    """The chains of a list of mappings, each from a group to its fallbacks."""
    node = entry.node
    mappings = node.items if not node.is_mapping else (node,)
    for mapping in mappings:
        if not mapping.is_mapping:
            report.left_out(mapping.line, setting, "a chain is a mapping from a model to a list of models")
        for inner in mapping.entries:
            named = inner.node.items if not inner.node.is_scalar else (inner.node,)
            models = tuple(_model_name(item) for item in named)
            yield FallbackChain(
                inner.line, f"{setting} {inner.name}", inner.name, tuple(filter(None, models))
            )


def _model_name(item: Node) -> str:
    """The model of a fallback: a name, or a mapping with ``model``."""
    inner = item.get("model") if item.is_mapping else item
    return inner.text if inner is not None and inner.is_scalar else ""


def _fallbacks(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.fallbacks = [
        one for one in reader.found.fallbacks if one.setting.endswith("default_fallbacks")
    ]
    reader.found.fallbacks += _chains(entry, setting, reader.report)


def _default_fallbacks(reader: _Reader, entry: Entry, setting: str) -> None:
    named = entry.node.items if not entry.node.is_scalar else (entry.node,)
    models = tuple(filter(None, map(_model_name, named)))
    reader.found.fallbacks.append(FallbackChain(entry.line, setting, "*", models))


def _context_fallbacks(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.context_fallbacks = list(_chains(entry, setting, reader.report))


def _policy_fallbacks(reader: _Reader, entry: Entry, setting: str) -> None:
    for chain in _chains(entry, setting, reader.report):
        text = "a refusal by a content filter is an answer, which the caller gets"
        reader.report.left_out(chain.line, chain.setting, text)


def _aliases(reader: _Reader, entry: Entry, setting: str) -> None:
    for inner in entry.node.entries:
        at = f"{setting} {inner.name}"
        model = _model_name(inner.node)
        hidden = inner.node.get("hidden")
        if hidden is not None and not hidden.is_off:
            reader.report.changed(
                hidden.line, f"{at}.hidden", "/v1/models lists the alias: it cannot be hidden"
            )
        reader.found.aliases.append(Alias(inner.line, at, inner.name, model))


def _default_params(reader: _Reader, entry: Entry, setting: str) -> None:
    for inner in entry.node.entries or (entry,):
        at = f"{setting}.{inner.name}"
        if inner.name == "max_parallel_requests":
            _max_parallel(reader, inner, at)
        elif inner.name == "timeout" and reader.found.timeout is None:
            _timeout(reader, inner, at)
        else:
            reader.report.left_out(inner.line, at, "write it into [models.NAME.default] of each model")


def _max_parallel(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.max_in_flight = whole(entry.node)
    if reader.found.max_in_flight is None:
        reader.report.left_out(entry.line, setting, "it is not a positive whole number")
    else:
        reader.report.mapped(entry.line, setting, "max_in_flight of each candidate without its own")


def _drop_params(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.drops_fields = True
    text = "unsupported = drop at upstreams of Anthropic's API; others get what the caller writes"
    reader.report.changed(entry.line, setting, text)


def _redis(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.redis[entry.name] = entry


def _master_key(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.master_key = entry


def _budget(reader: _Reader, entry: Entry, setting: str) -> None:
    reader.found.budgets[entry.name] = entry, setting


def _provider_budgets(reader: _Reader, entry: Entry, setting: str) -> None:
    if entry.node.is_mapping:
        reader.found.provider_budgets = entry, setting
    else:
        reader.report.left_out(entry.line, setting, "it is not a mapping of providers")


def _request_size(reader: _Reader, entry: Entry, setting: str) -> None:
    size = whole(entry.node, 1_000_000)
    if size is None:
        reader.report.left_out(entry.line, setting, "it is not a positive whole number")
        return
    reader.found.max_body_bytes = size * 1024 * 1024
    reader.report.mapped(entry.line, setting, f"max_body_bytes = {size * 1024 * 1024}")


_Take = Callable[[_Reader, Entry, str], None]
#: The settings that are taken from ``router_settings`` and from ``litellm_settings``.
_SHARED: Mapping[str, _Take] = {
    "request_timeout": _timeout,
    "timeout": _timeout,
    "stream_timeout": _stream_timeout,
    "allowed_fails": _allowed_fails,
    "cooldown_time": _cooldown_time,
    "routing_strategy": _strategy,
    "fallbacks": _fallbacks,
    "default_fallbacks": _default_fallbacks,
    "context_window_fallbacks": _context_fallbacks,
    "content_policy_fallbacks": _policy_fallbacks,
    "model_group_alias": _aliases,
    "model_alias_map": _aliases,
    "default_litellm_params": _default_params,
    "default_max_parallel_requests": _max_parallel,
    "drop_params": _drop_params,
    **dict.fromkeys(("redis_url", "redis_host", "redis_port", "redis_password", "redis_db"), _redis),
    **dict.fromkeys(BUDGET_SETTINGS, _budget),
    "provider_budget_config": _provider_budgets,
}
#: Settings of which all places count.
_ADDED = frozenset({"model_group_alias", "model_alias_map", "default_litellm_params"})
_GENERAL: Mapping[str, _Take] = {
    "master_key": _master_key,
    "max_request_size_mb": _request_size,
    **dict.fromkeys(BUDGET_SETTINGS, _budget),
}
