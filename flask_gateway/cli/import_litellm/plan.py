"""Decides what a configuration of LiteLLM becomes. It does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...config.secrets import GUESSABLE_KEY, SHORT_KEY
from ..providers import PROVIDERS
from .budgets import GeneralBudgets, ImportedBudget, general_budgets, report_end_users
from .deployments import MOST_SILENCE, USUAL_SILENCE, Deployment, deployments
from .key_table import ImportedKey
from .places import credentials
from .provider_budgets import ALL, BudgetPlacer
from .report import Report
from .routes import Model, RouteBuilder
from .sections import Found, Sections, read_sections
from .state import StateSetting, state_of
from .teams import ImportedTeam
from .unpriced import ModelPricer, Pair
from .upstreams import ImportedUpstream, Upstreams
from .values import Environment, Literal, VariableRef, is_usable_key, reference_in
from .yaml_tree import Node

#: LiteLLM's own timeout of a call is 6000 s, and it has none for the silence of a stream. Longer than these,
#: seconds, a caller has usually left.
SILENCE_SECONDS, TOTAL_SECONDS = USUAL_SILENCE, 600.0


class NothingToImport(Exception):
    """The file has no model that the gateway can ask. The text says why."""


class Plan(NamedTuple):
    """The content of the settings file.

    :param groups: the models of each access group. :param deployments: each with its upstream and model.
    :param wildcards: the entries whose names have a ``*``. :param routed: the names of those that are kept.
    :param model_budgets: by model. :param end_users: the limits of single ones, by name.
    """

    found: Found
    state: StateSetting
    upstreams: list[ImportedUpstream]
    default_upstream: str | None
    models: list[Model]
    keys: list[ImportedKey]
    groups: Mapping[str, tuple[str, ...]]
    budgets: GeneralBudgets
    teams: list[ImportedTeam]
    deployments: list[tuple[Pair, Deployment]]
    wildcards: list[Deployment]
    routed: frozenset[str]
    model_budgets: Mapping[str, ImportedBudget]
    end_users: dict[str, Mapping[str, Any]]

    @property
    def silence(self) -> float:
        return min(self.found.stream_timeout or self.found.timeout or SILENCE_SECONDS, MOST_SILENCE)

    @property
    def total(self) -> float:
        return self.found.timeout or TOTAL_SECONDS

    @property
    def unlisted(self) -> list[str] | str | None:
        """The names without a model that are routed: those of wildcards; ``None``: all."""
        patterns = sorted({one.group for one in self.wildcards if one.group in self.routed})
        return None if "*" in patterns else patterns or "none"

    @property
    def has_budgets(self) -> bool:
        """Whether a budget covers a call."""
        owners: list[ImportedKey | ImportedTeam] = [*self.keys, *self.teams]
        in_owners = any(owner.budget or owner.model_budgets for owner in owners)
        end_users = (self.budgets.end_user or {}, *self.end_users.values()) if self.keys else ()
        in_end_users = any("budgets" in limits for limits in end_users)
        general = self.budgets.all_calls is not None or bool(self.model_budgets)
        return in_owners or in_end_users or general

    @property
    def keeps_ledger(self) -> bool:
        """Whether the settings need a ledger."""
        return self.has_budgets or any(
            one.price for model in self.models for tier in model.tiers for one in tier
        )

    def secrets(self) -> list[Literal]:
        """The secrets in the open, each once."""
        places = [upstream.place.key for upstream in self.upstreams] + [key.place for key in self.keys]
        found = [one for one in (*places, self.state.secret) if isinstance(one, Literal)]
        return list(dict.fromkeys(found))


def plan_of(root: Node, report: Report) -> Plan:
    """Plan the import of a configuration.

    :raises NothingToImport: there is no model that the gateway can ask.
    """
    if not root.is_mapping:
        raise NothingToImport("it is not a mapping of sections, as LiteLLM reads it")
    sections = Sections(root, report)
    environment = Environment(_variables(sections.joined("environment_variables")))
    found = read_sections(sections, environment, report)
    known = credentials(sections.joined("credential_list"), report)
    listed = list(deployments(sections.joined("model_list"), known, environment, report))
    upstreams = Upstreams(report)
    upstreams.add_wildcards([one for one in listed if "*" in one.group])
    groups: dict[str, list[Deployment]] = {}
    for one in listed:
        if "*" not in one.group:
            groups.setdefault(one.group, []).append(one)
    models = RouteBuilder(groups, upstreams, found, report).models()
    keys = _master(sections, found, environment, report)
    state = state_of(found.redis, environment, report)
    _report_environment(sections.joined("environment_variables"), environment, report)
    sections.report_others()
    _report_providers(upstreams.all, report)
    if not upstreams.all:
        raise NothingToImport(_nothing(sections, bool(listed)))
    wildcards = [one for one in listed if "*" in one.group]
    placed = [((upstreams.of(one), one.model), one) for one in listed if "*" not in one.group]
    budgets = general_budgets(found.budgets, environment, report)
    placer = BudgetPlacer(models, upstreams.all, wildcards, report)
    if budgets.all_calls is not None:
        placer.found[ALL] = budgets.all_calls
    placer.of_providers(found, environment)
    placer.of_deployments(placed)
    model_budgets = dict(placer.found)
    return Plan(
        found=found,
        state=state,
        upstreams=upstreams.all,
        default_upstream=upstreams.default,
        models=models,
        keys=keys,
        groups=_access_groups(listed),
        budgets=budgets._replace(all_calls=model_budgets.pop(ALL, None)),
        teams=[],
        deployments=placed,
        wildcards=wildcards,
        routed=frozenset(upstreams.wildcards),
        model_budgets=model_budgets,
        end_users={},
    )


def set_prices(plan: Plan, now: float, report: Report) -> None:
    """Give the candidates their prices, once the keys are known, and so whether there is a budget.

    :param now: epoch seconds.
    """
    report_end_users(plan.budgets, bool(plan.keys), report)
    pricer = ModelPricer(plan.upstreams, plan.deployments, plan.has_budgets, now, report)
    pricer.price(plan.models)
    if plan.has_budgets:
        pricer.report_wildcards(plan.wildcards)


def _nothing(sections: Sections, has_wildcards: bool) -> str:
    text = "it has no model that the gateway can ask"
    models, general = sections.joined("model_list"), sections.joined("general_settings")
    if has_wildcards or (models is not None and models.items):
        return f"{text}: the list of what is left out says why of each"
    stored = general.get("store_model_in_db") if general is not None else None
    if stored is not None and not stored.is_off:
        return f"{text}: LiteLLM has its models in the database. Write them into model_list first"
    return text


def _report_providers(upstreams: list[ImportedUpstream], report: Report) -> None:
    """Say of each provider whose own API LiteLLM calls, once, that another one is called."""
    seen: set[str] = set()
    for upstream in upstreams:
        provider = upstream.place.provider
        if (note := PROVIDERS[provider].note) and note not in seen:
            seen.add(note)
            report.changed(upstream.line, f"provider {provider}", note)


def _variables(section: Node | None) -> dict[str, str]:
    entries = section.entries if section is not None else ()
    return {
        entry.name: entry.node.text for entry in entries if entry.node.is_scalar and entry.node.text.strip()
    }


def _report_environment(section: Node | None, environment: Environment, report: Report) -> None:
    for entry in section.entries if section is not None else ():
        setting = f"environment_variables.{entry.name}"
        if not entry.node.text.strip():
            text = "empty, so left to the environment: set it there, or unset it"
            report.left_out(entry.line, setting, text)
        elif entry.name in environment.used:
            report.mapped(entry.line, setting, "taken where it is referred to")
        else:
            text = "no setting here reads it; set it in the environment of the server if something else does"
            report.left_out(entry.line, setting, text)


def _access_groups(listed: list[Deployment]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, dict[str, None]] = {}
    for one in listed:
        for group in one.access_groups:
            groups.setdefault(group, {})[one.group] = None
    return {group: tuple(models) for group, models in groups.items()}


def _master(sections: Sections, found: Found, environment: Environment, report: Report) -> list[ImportedKey]:
    """The key ``master``, which may call everything."""
    setting, entry = "general_settings.master_key", found.master_key
    if entry is None and (value := environment.literal("LITELLM_MASTER_KEY")) and is_usable_key(value):
        name = reference_in(value)
        place = VariableRef(name) if name else Literal(value, "LITELLM_MASTER_KEY")
        return [ImportedKey("master", place=place)]
    if entry is None:
        general = sections.joined("general_settings")
        text = (
            "not set, so LiteLLM answers everyone; callers need a key here: add [keys.NAME], or try dev-key"
        )
        report.changed(general.line if general is not None else 1, setting, text)
        return []
    variable = environment.variable(entry.node)
    value = environment.literal(variable) if variable else entry.node.text.strip()
    if value is None:
        text = f"[keys.master] from {variable}; set GATEWAY_METRICS_KEY to another key for /metrics"
        report.mapped(entry.line, setting, text)
        return [ImportedKey("master", place=VariableRef(variable or ""))]
    if not is_usable_key(value):
        report.left_out(entry.line, setting, "it has characters that no header can have")
        return []
    text = "a secret in the open: [keys.master] reads it from a place that only you can read"
    if len(value) < GUESSABLE_KEY:
        text += ". It is so short that it is refused where others can connect: make a new one"
    elif len(value) < SHORT_KEY:
        text += ". It is short and can be guessed: make a new one"
    report.changed(entry.line, setting, text)
    return [ImportedKey("master", place=Literal(value, "LITELLM_MASTER_KEY"))]
