"""Maps budgets of providers and deployments: budgets here are of all calls, models, teams and keys."""

from __future__ import annotations

from collections.abc import Sequence

from .budgets import ImportedBudget, Unbudgeted, budget_of
from .deployments import Deployment
from .report import Report
from .routes import Model
from .sections import Found
from .upstreams import ImportedUpstream
from .values import Environment
from .yaml_tree import Entry, Node

#: The key of the budget of all calls.
ALL = ""


class BudgetPlacer:
    """Finds the model or all calls whose budget is the same as that of a provider or a deployment.

    :param models: with the fallbacks that they have. :param wildcards: entries that name many models.
    :ivar found: budgets by model; under ``ALL`` that of all calls.
    """

    def __init__(
        self,
        models: Sequence[Model],
        upstreams: Sequence[ImportedUpstream],
        wildcards: Sequence[Deployment],
        report: Report,
    ) -> None:
        self._report = report
        self._providers = {one.name: one.place.provider for one in upstreams}
        self._wild = {one.place.provider for one in wildcards}
        self._models = {
            model.name: {(one.upstream, one.model) for tier in model.tiers for one in tier}
            for model in models
        }
        self.found: dict[str, ImportedBudget] = {}

    def of_providers(self, found: Found, environment: Environment) -> None:
        """Place the budgets of ``provider_budget_config``."""
        if found.provider_budgets is None:
            return
        entry, setting = found.provider_budgets
        for provider in entry.node.entries:
            at = f"{setting} {provider.name}"
            amount = _text(provider, environment, "budget_limit", "max_budget")
            duration = _text(provider, environment, "time_period", "budget_duration")
            asked = {name for name, of in self._providers.items() if of == provider.name}
            name, reason = self._only(asked, provider.name in self._wild)
            self._place(name, reason, (amount, duration), provider.line, at)

    def of_deployments(self, placed: Sequence[tuple[tuple[str, str], Deployment]]) -> None:
        """Place the budgets that deployments have."""
        for pair, one in placed:
            amount, duration = one.budget
            at, reason = f"{one.at}.litellm_params.max_budget", ""
            if amount:
                alone = self._models[one.group] == {pair}
                elsewhere = [
                    name for name, pairs in self._models.items() if pair in pairs and name != one.group
                ]
                reason = "" if alone and not elsewhere else _SHARED
                self._place(one.group, reason, (amount, duration), one.line_of("max_budget"), at)
            if duration:
                text = "the window of that budget" if amount else "there is no max_budget"
                add = self._report.mapped if amount and not reason else self._report.left_out
                at = f"{one.at}.litellm_params.budget_duration"
                add(one.line_of("budget_duration"), at, text)

    def _only(self, asked: set[str], wild: bool) -> tuple[str, str]:
        """The model that alone asks these upstreams, or ``ALL`` if there are no others; and why not.

        :param wild: whether a wildcard asks them, too.
        """
        if not asked:
            return ALL, "no model asks this provider"
        if asked == set(self._providers):
            return ALL, ""
        upstreams = {name: {upstream for upstream, _ in pairs} for name, pairs in self._models.items()}
        using = [name for name, of in upstreams.items() if of & asked]
        alone = len(using) == 1 and not wild and upstreams[using[0]] <= asked
        return (using[0], "") if alone else (ALL, _SHARED)

    def _place(self, name: str, reason: str, given: tuple[str, str], line: int, at: str) -> None:
        if reason:
            self._report.left_out(line, at, reason)
            return
        place = f"[limits] models {name}" if name else "[limits]"
        try:
            budget = budget_of(*given)
        except Unbudgeted as unfit:
            self._report.left_out(line, at, str(unfit))
            return
        if name in self.found:
            self._report.left_out(line, at, f"{place} has a budget already")
            return
        self.found[name] = budget
        text = f'amount = "{budget.amount}", window = "{budget.window}"'
        note = budget.note or "its calls are refused then, as LiteLLM refuses them"
        self._report.changed(line, at, f"{place} budgets: {text}: {note}")


_SHARED = (
    "a budget is of all calls, a model, a team, a key or an end user here, not of one upstream of several: "
    "budgets in [limits] models limit each of its models"
)


def _text(provider: Entry, environment: Environment, *names: str) -> str:
    found: Node | None = next((node for name in names if (node := provider.node.get(name))), None)
    return environment.text(found) or ""
