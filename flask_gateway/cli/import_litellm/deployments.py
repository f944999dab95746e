"""Reads ``model_list``: each entry becomes a deployment, or a finding that says why not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ...config.body_fields import BODY_FIELDS
from ...config.errors import InvalidValue, nearest
from . import vertex
from .anthropic_fields import message_field
from .modes import lacking
from .parameters import (
    NUMBERS,
    OFF_COUNTS,
    PINS,
    PLACE,
    WITHOUT_COUNTERPART,
    is_secret,
    may_be_secret,
    reason_for,
    reason_for_info,
)
from .places import DeploymentParams, ProviderAccount, Unplaced, place_of, split_model
from .prices import PRICED, price_of
from .report import Report
from .values import Environment, number, seconds, shown, whole
from .yaml_tree import Entry, Node

#: Providers whose own parameters LiteLLM translates. Their OpenAI APIs take only part of them.
_TRANSLATING = frozenset({"gemini", "cohere", "cohere_chat", "ollama", "ollama_chat"})
_COMMON = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "n",
        "tools",
        "tool_choice",
    }
    | {"response_format", "presence_penalty", "frequency_penalty", "user"}
)
#: Models that refuse ``max_tokens``. LiteLLM renames the field for them.
_REASONING = re.compile(r"(openai/)?(gpt-5|o[134])(\W|$)")


#: The timeouts of a candidate that ``timeout`` and ``stream_timeout`` become, and those of silence: they must
#: not cut a call that may take longer than usual. Seconds.
_ANSWER, _STREAM = ("answer_seconds", "total_seconds"), ("first_token_seconds",)
_SILENCES = ("first_byte_seconds", "first_token_seconds", "idle_seconds")
USUAL_SILENCE, MOST_SILENCE = 120.0, 300.0


class Deployment(msgspec.Struct, frozen=True):
    """An entry of ``model_list``.

    :param line: of the entry. :param at: its path in the file, for findings.
    :param group: the name that callers use (``model_name``).
    :param model: the provider's own name. :param shares: ``weight``, ``rpm`` and ``tpm``, if set.
    :param clocks: timeouts by their names in the gateway's file, seconds.
    :param access_groups: groups of keys that may call it. :param price: US dollars per million
        by unit. :param base_model: of ``model_info``: the model that has its price.
    :param base_line: its line. :param budget: ``max_budget`` and ``budget_duration``.
    :param lines: of the parameters, by name.
    """

    line: int
    at: str
    group: str
    place: ProviderAccount
    model: str
    order: float | None = None
    shares: Mapping[str, float] = {}
    clocks: Mapping[str, float] = {}
    max_in_flight: int | None = None
    set: Mapping[str, Any] = {}
    default: Mapping[str, Any] = {}
    access_groups: tuple[str, ...] = ()
    price: Mapping[str, str] = {}
    base_model: str = ""
    base_line: int = 0
    budget: tuple[str, str] = ("", "")
    lines: Mapping[str, int] = {}

    def line_of(self, name: str) -> int:
        """The line of a parameter."""
        return self.lines.get(name, self.line)


def deployments(
    model_list: Node | None, credentials: Mapping[str, Node], environment: Environment, report: Report
) -> Iterator[Deployment]:
    """The usable entries of ``model_list``."""
    for place, item in enumerate(model_list.items if model_list else (), 1):
        at = f"model_list[{place}]"
        name = item.get("model_name")
        group = name.text.strip() if name is not None and name.is_scalar else ""
        at += f" {group}" if group and group.isprintable() else ""
        try:
            yield _deployment(item, at, group, credentials, environment, report)
        except Unplaced as reason:
            report.left_out(item.line, at, f"entry {place} is left out: {reason}")


def _deployment(
    item: Node,
    at: str,
    group: str,
    credentials: Mapping[str, Node],
    environment: Environment,
    report: Report,
) -> Deployment:
    params = item.get("litellm_params")
    _misplaced(item, at, report)
    if not group or not group.isprintable() or len(group) > 256:
        raise Unplaced("it has no model_name that can be used")
    if params is None or not params.entries:
        raise Unplaced("its litellm_params are empty")
    source = _source(at, params, credentials)
    provider, model = split_model(source, report)
    if "*" in model and "*" not in group:
        raise Unplaced("its model is a wildcard, and its model_name is none")
    place = place_of(source, provider, environment, report)
    pins = _Pins(source.at, provider, model, place.is_anthropic, report)
    for entry in params.entries:
        _parameter(entry, pins, report)
    info = item.get("model_info")
    groups = tuple(_model_info(info, group, place.kind, at, report)) if info is not None else ()
    base = _base_model(info)
    return Deployment(
        line=item.line,
        at=at,
        group=group,
        place=place,
        model=model,
        order=number(params.get("order")),
        shares={name: value for name in ("weight", "rpm", "tpm") if (value := number(params.get(name)))},
        clocks=dict(_clocks(params, source.at, environment, report)),
        max_in_flight=whole(params.get("max_parallel_requests")),
        set=pins.set,
        default=pins.default,
        access_groups=groups,
        price=price_of(params, info, at, report),
        base_model=base.text if base is not None else "",
        base_line=base.line if base is not None else item.line,
        budget=(
            _budget_text(params, "max_budget", environment),
            _budget_text(params, "budget_duration", environment),
        ),
        lines={entry.name: entry.line for entry in params.entries},
    )


def _budget_text(params: Node, name: str, environment: Environment) -> str:
    node = params.get(name)
    return "" if node is None or node.is_off else environment.text(node) or ""


def _is_price(entry: Entry, info: Node, group: str) -> bool:
    """Whether the entry says what the model costs, which is reported with the prices."""
    if entry.name == "base_model":
        return _base_model(info) is not None and "*" not in group
    return entry.name in PRICED and entry.node.value is not None


def _base_model(info: Node | None) -> Node | None:
    base = info.get("base_model") if info is not None else None
    return base if base is not None and base.is_scalar and not base.is_off else None


def _source(at: str, params: Node, credentials: Mapping[str, Node]) -> DeploymentParams:
    """:raises Unplaced: the credential is not in the file."""
    named = params.get("litellm_credential_name")
    name = named.text if named is not None and named.text else None
    if name is not None and name not in credentials and params.get("api_key") is None:
        raise Unplaced(f"its credential {name} is not in credential_list")
    return DeploymentParams(
        f"{at}.litellm_params", params, credentials.get(name or ""), name if name in credentials else None
    )


def _misplaced(item: Node, at: str, report: Report) -> None:
    """Report the names of an entry that are not among the three that LiteLLM reads."""
    if not item.is_mapping:
        raise Unplaced("it is not a mapping")
    for entry in item.entries:
        if entry.name in ("model_name", "litellm_params", "model_info"):
            continue
        known = entry.name in PLACE or entry.name in PINS or reason_for(entry.name) is not None
        where = "belongs into litellm_params" if known else "is not known"
        report.left_out(entry.line, f"{at}.{entry.name}", f"{where}; LiteLLM reads nothing at this level")


def _parameter(entry: Entry, pins: _Pins, report: Report) -> None:
    name, setting = entry.name, f"{pins.at}.{entry.name}"
    if name == "extra_body":
        pins.pin_all(entry)
    elif name in PINS:
        pins.pin(entry)
    elif name in ("rpm", "tpm", "weight", "order", "max_parallel_requests"):
        if number(entry.node) is None and not entry.node.is_off:
            report.left_out(entry.line, setting, "it is not a positive number")
        elif name == "max_parallel_requests":
            report.mapped(entry.line, setting, "max_in_flight of the candidate")
    elif name == "litellm_credential_name":
        report.mapped(entry.line, setting, "its address and key come from credential_list")
    elif name == "api_version":
        report.changed(entry.line, setting, "not sent: Azure's v1 API takes no version")
    elif name in _read_elsewhere(pins.provider) and not entry.node.is_off:
        return  # reported with the place or the budgets
    elif name not in PLACE and not (name in PRICED and entry.node.value is not None):
        _left_out(entry, setting, report)


def _read_elsewhere(provider: str) -> frozenset[str]:
    budgets = frozenset({"max_budget", "budget_duration"})
    return budgets | vertex.PARAMETERS if provider == vertex.PROVIDER else budgets


def _left_out(entry: Entry, setting: str, report: Report) -> None:
    reason = reason_for(entry.name)
    if entry.node.is_off and not (entry.name in OFF_COUNTS and entry.node.value is not None):
        report.mapped(entry.line, setting, "off, as here")
    elif reason is not None:
        report.left_out(entry.line, setting, reason)
    else:
        hint = nearest(entry.name, (*PINS, *PLACE, *WITHOUT_COUNTERPART))
        advice = "write it into [models.NAME.default] if the provider takes it"
        report.left_out(entry.line, setting, f"an unknown name; {hint or advice}")


class _Pins:
    """Collects the fields of the body that a deployment pins.

    LiteLLM's own fields give way to the caller's (``Router._acompletion``), so they are defaults. Those in
    ``extra_body`` are not.

    :param to_messages: whether the deployment is asked by Anthropic's API.
    """

    def __init__(self, at: str, provider: str, model: str, to_messages: bool, report: Report) -> None:
        self.at = at
        self.provider = provider
        self._model = model
        self._to_messages = to_messages
        self._report = report
        self.set: dict[str, Any] = {}
        self.default: dict[str, Any] = {}

    def pin(self, entry: Entry) -> None:
        name = entry.name
        if name == "max_tokens" and self.provider in ("openai", "azure") and _REASONING.match(self._model):
            name = "max_completion_tokens"
        if entry.node.value is None or not self._fits(name, entry, f"{self.at}.{entry.name}"):
            return
        setting, field = f"{self.at}.{entry.name}", (name, _value_of(name, entry.node))
        if self._to_messages:
            translated = message_field(*field)
            if translated is None:
                self._report.left_out(entry.line, setting, "Anthropic's API has no such field")
                return
            field = translated
        self.default[field[0]] = field[1]
        text = f"default.{field[0]} of the model, for callers who do not send it"
        if self.provider in _TRANSLATING and name not in _COMMON:
            self._report.changed(
                entry.line, setting, f"{text}; sent as it is, where LiteLLM would translate it"
            )
        else:
            self._report.mapped(entry.line, setting, text)

    def pin_all(self, entry: Entry) -> None:
        setting = f"{self.at}.extra_body"
        if not entry.node.is_mapping:
            self._report.left_out(entry.line, setting, "it is not a mapping")
        for inner in entry.node.entries:
            if self._fits(inner.name, inner, f"{setting}.{inner.name}"):
                self.set[inner.name] = inner.node.plain()
                self._report.mapped(inner.line, f"{setting}.{inner.name}", f"set.{inner.name} of the model")

    def _fits(self, name: str, entry: Entry, setting: str) -> bool:
        """Whether the settings can hold the field. Report it otherwise."""
        if is_secret(name) or _has_secret(entry.node):
            self._report.left_out(entry.line, setting, "it may hold a secret, which the settings do not take")
            return False
        try:
            value = entry.node.plain()
            BODY_FIELDS.check({name: value})
            _refuse_null(value)
            msgspec.json.encode(value).decode()
        except InvalidValue as unfit:
            self._report.left_out(entry.line, setting, unfit.hint or unfit.expected)
            return False
        except (UnicodeError, ValueError):
            self._report.left_out(entry.line, setting, "a value that TOML cannot express, such as null")
            return False
        return True


def _value_of(name: str, node: Node) -> Any:
    """The value of a field, as a number where it is one that is written as text."""
    if name not in NUMBERS or not isinstance(node.value, str):
        return node.plain()
    value = number(node)
    return node.plain() if value is None else int(value) if value == int(value) else value


def _has_secret(node: Node) -> bool:
    return (
        may_be_secret(node.text)
        or any(is_secret(entry.name) or _has_secret(entry.node) for entry in node.entries)
        or any(_has_secret(item) for item in node.items)
    )


def _refuse_null(value: Any) -> None:
    """:raises ValueError: the value holds a null, or a number that TOML cannot write."""
    if isinstance(value, dict):
        list(map(_refuse_null, (*value.values(), *value)))
    elif isinstance(value, list):
        list(map(_refuse_null, value))
    elif value is None or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise ValueError("not in TOML")
    elif isinstance(value, str):
        value.encode()


def _clocks(params: Node, at: str, environment: Environment, report: Report) -> Iterator[tuple[str, float]]:
    for name, clocks in (("timeout", _ANSWER), ("stream_timeout", _STREAM)):
        node = params.get(name)
        if node is None or node.is_off:
            continue
        text = environment.text(node)
        value = seconds(node if text is None else Node(node.line, text, text))
        if value is None:
            report.left_out(
                node.line, f"{at}.{name}", "it is not a number of seconds that stands in the file"
            )
            continue
        report.mapped(node.line, f"{at}.{name}", f"{clocks[-1]} = {shown(value)} at the candidate")
        if value > USUAL_SILENCE:
            yield from ((clock, min(value, MOST_SILENCE)) for clock in _SILENCES)
        yield from ((clock, value) for clock in clocks)


def _model_info(info: Node, group: str, kind: str, at: str, report: Report) -> Iterator[str]:
    """Report what is known of a model, and yield its access groups. :param kind: of its upstream."""
    for entry in info.entries:
        setting = f"{at}.model_info.{entry.name}"
        if entry.name == "mode":
            if (reason := lacking(entry.node.text, kind)) is None:
                report.mapped(entry.line, setting, "the caller's path chooses the operation")
            else:
                report.left_out(entry.line, setting, reason)
        elif _is_price(entry, info, group):
            continue
        elif entry.node.is_off:
            report.mapped(entry.line, setting, "off, as here")
        else:
            report.left_out(entry.line, setting, reason_for_info(entry.name))
        if entry.name == "access_groups":
            yield from (item.text for item in entry.node.items if item.is_scalar)
