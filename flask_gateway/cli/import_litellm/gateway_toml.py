"""Writes the settings file of a plan, with comments where something changed its meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...config.errors import one_line
from ...config.kinds import KINDS
from .budgets import ImportedBudget
from .key_table import ImportedKey
from .plan import Plan
from .report import Disposition, ImportFinding, Report
from .routes import ImportedCandidate, Model, Tier
from .teams import ImportedTeam
from .upstreams import ImportedUpstream
from .values import Literal, VariableRef, shown

_BARE = re.compile(r"[A-Za-z0-9_-]+")

#: The directory of the ledger, relative to the settings file.
LEDGER = "ledger"

#: Says where a secret of the input is kept: the field's suffix and its value, such as ``("env", "X")``.
Places = Mapping[Literal, tuple[str, str]]


def gateway_toml(plan: Plan, places: Places, report: Report, source: str) -> str:
    """The text of the settings file.

    :param places: of each secret that stood in the open. :param source: the name of the input.
    """
    comments = _comments(report)
    lines = [
        f"# Imported from {one_line(source)}, a configuration of LiteLLM Proxy. The numbers are its lines.",
        "# Check it with: flask-gateway check --config THIS-FILE",
        "",
        *_general(plan),
    ]
    if plan.keeps_ledger:
        lines += ["", "[ledger]", _said(f"data = {text(LEDGER)}", "what calls cost: name a local disk")]
    if plan.budgets.all_calls is not None or plan.model_budgets:
        lines += ["", "[limits]", *_general_limits(plan)]
    for team in plan.teams:
        lines += ["", f"[teams.{name(team.name)}]", *_team(team)]
    for key in plan.keys:
        lines += ["", f"[keys.{name(key.name)}]", *_key(key, places), *_end_users(plan)]
    for upstream in plan.upstreams:
        lines += ["", f"[upstreams.{name(upstream.name)}]", *_upstream(upstream, plan, places)]
    for model in plan.models:
        lines += ["", *comments.get(model.name, ()), *_model(model, plan.found.balance)]
    lines += ["", *_left_out(report)]
    return "\n".join(lines).rstrip() + "\n"


def _general(plan: Plan) -> Iterator[str]:
    yield _said("rate_limit_per_minute = 0", "LiteLLM has no limit unless a key sets one")
    what = "its timeout" if plan.found.timeout else "none is set, and LiteLLM waits for 6000 s"
    yield _said(f"request_timeout_seconds = {shown(plan.silence)}", "the longest silence of a stream")
    yield _said(f"answer_timeout_seconds = {shown(plan.total)}", f"an answer in one piece; {what}")
    if plan.found.max_failures:
        yield f"circuit_breaker_max_failures = {plan.found.max_failures}"
    if plan.found.reset_seconds:
        yield f"circuit_breaker_reset_seconds = {shown(plan.found.reset_seconds)}"
    if plan.found.max_body_bytes:
        yield f"max_body_bytes = {plan.found.max_body_bytes}"
        yield f"body_memory_bytes = {max(4 * plan.found.max_body_bytes, 268435456)}"
    if plan.default_upstream:
        yield f"default_upstream = {text(plan.default_upstream)}"
    if (unlisted := plan.unlisted) is not None:
        yield _said(f"unlisted_models = {value(unlisted)}", "LiteLLM refuses the other names, too")
    if plan.state.url:
        yield f"state = {text(plan.state.url)}"
    if plan.state.variable:
        yield f"state_env = {text(plan.state.variable)}"
    yield _said('compat = ["litellm"]', "x-litellm-* headers; leave it out if nobody reads them")


def _said(line: str, comment: str) -> str:
    return f"{line:<35} # {comment}"


def _key(key: ImportedKey, places: Places) -> Iterator[str]:
    if key.digest:
        yield f"sha256 = {text(key.digest)}"
    else:
        yield from _place("key", key.place, places)
    if key.rate_limit is not None:
        yield f"rate_limit_per_minute = {key.rate_limit}"
    if key.tokens is not None:
        yield f"tokens = {key.tokens}"
    if key.concurrent is not None:
        yield f"concurrent = {key.concurrent}"
    if key.models is not None:
        yield f"models = {value(list(key.models))}"
    if key.team:
        yield f"team = {text(key.team)}"
    yield from _owner_budgets(key)


def _general_limits(plan: Plan) -> Iterator[str]:
    if plan.budgets.all_calls is not None:
        yield _budgets(plan.budgets.all_calls)
    if plan.model_budgets:
        limits = {model: {"budgets": [one.table]} for model, one in plan.model_budgets.items()}
        yield f"models = {value(limits)}"


def _end_users(plan: Plan) -> Iterator[str]:
    """The limits of the end users of each key."""
    if plan.budgets.end_user is not None:
        yield f"users = {value(dict(plan.budgets.end_user))}"
    if plan.end_users:
        yield f"user_limits = {value({user: dict(limits) for user, limits in plan.end_users.items()})}"


def _team(team: ImportedTeam) -> Iterator[str]:
    limits = {"requests": team.requests, "tokens": team.tokens, "concurrent": team.concurrent}
    yield from (f"{field} = {count}" for field, count in limits.items() if count is not None)
    yield from _owner_budgets(team)


def _owner_budgets(owner: ImportedKey | ImportedTeam) -> Iterator[str]:
    if owner.budget is not None:
        yield _budgets(owner.budget)
    if owner.model_budgets:
        limits = {model: {"budgets": [one.table]} for model, one in owner.model_budgets.items()}
        yield f"model_limits = {value(limits)}"


def _budgets(budget: ImportedBudget) -> str:
    return f"budgets = {value([budget.table])}"


def _place(field: str, place: VariableRef | Literal | None, places: Places) -> Iterator[str]:
    if isinstance(place, VariableRef):
        yield f"{field}_env = {text(place.name)}"
    elif isinstance(place, Literal):
        suffix, where = places[place]
        yield f"{field}_{suffix} = {text(where)}"


def _upstream(upstream: ImportedUpstream, plan: Plan, places: Places) -> Iterator[str]:
    place, found = upstream.place, plan.found
    if place.kind:
        yield f"kind = {text(place.kind)}"
    if place.speaks:
        yield f"speaks = {value(list(place.speaks))}"
    if place.url_env:
        yield f"url_env = {text(place.url_env)}"
        if place.url_path:
            yield f"url_path = {text(place.url_path)}"
    else:
        yield f"url = {text(place.url)}"
    yield from _place("api_key", place.key, places)
    if place.key_command:
        yield f"api_key_command = {value(list(place.key_command))}"
    if place.is_anthropic and found.drops_fields:
        yield 'unsupported = "drop"'
    yield from (f"{clock}_seconds = {shown(seconds)}" for clock, seconds in _clocks(place.kind, plan).items())


def _clocks(kind: str, plan: Plan) -> dict[str, float]:
    """The timeouts of an upstream: none is shorter than the general ones, as a kind's could be."""
    usual = KINDS[kind].clocks if kind else {}
    general = {"first_byte": plan.silence, "first_token": plan.silence, "idle": plan.silence}
    clocks = {name: value for name, value in general.items() if usual.get(name, value) < value}
    if usual:
        clocks["answer"] = plan.total
    if plan.found.stream_timeout:
        clocks["first_token"] = plan.found.stream_timeout
    if plan.found.timeout:
        clocks["total"] = plan.found.timeout
    return clocks


def _model(model: Model, balance: str) -> Iterator[str]:
    table = f"models.{name(model.name)}"
    yield f"[{table}]"
    candidates = [candidate for tier in model.tiers for candidate in tier]
    first = candidates[0]
    shared = all((one.set, one.default) == (first.set, first.default) for one in candidates)
    alone = len(candidates) == 1 and not (first.clocks or first.max_in_flight)
    if alone:
        yield f"upstream = {text(first.upstream)}"
        if first.model != model.name:
            yield f"model = {text(first.model)}"
        if first.price:
            yield f"price = {value(_price(first))}"
    else:
        if any(len(tier) > 1 for tier in model.tiers):
            yield f"balance = {text(balance)}"
        yield "tiers = ["
        yield from (f"    {_tier(tier, shared)}," for tier in model.tiers)
        yield "]"
    if model.aliases:
        yield f"aliases = {value(model.aliases)}"
    for kind, fields in (("set", first.set), ("default", first.default)) if shared else ():
        if fields:
            yield f"[{table}.{kind}]"
            yield from (f"{name(field)} = {value(content)}" for field, content in fields.items())


def _tier(tier: Tier, shared: bool) -> str:
    candidates = [_candidate(candidate, shared) for candidate in tier]
    if len(candidates) == 1:
        return f"[{candidates[0]}]"
    return "\n".join(["[", *(f"        {candidate}," for candidate in candidates), "    ]"])


def _candidate(one: ImportedCandidate, shared: bool) -> str:
    fields: dict[str, Any] = {"upstream": one.upstream, "model": one.model}
    if one.weight != 1:
        fields["weight"] = one.weight
    if one.max_in_flight:
        fields["max_in_flight"] = one.max_in_flight
    fields |= one.clocks
    if one.price:
        fields["price"] = _price(one)
    if not shared:
        fields |= {kind: body for kind, body in (("set", one.set), ("default", one.default)) if body}
    return value(fields)


def _price(one: ImportedCandidate) -> str | dict[str, str]:
    return one.price if isinstance(one.price, str) else dict(one.price)


def value(content: Any) -> str:
    """A value in TOML: text, numbers, booleans, lists and inline tables."""
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, str):
        return text(content)
    if isinstance(content, dict):
        inner = ", ".join(f"{name(field)} = {value(item)}" for field, item in content.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(content, list):
        return f"[{', '.join(map(value, content))}]"
    if isinstance(content, float) and content.is_integer() and abs(content) < 1e15:
        return f"{content:.1f}"
    return repr(content)


def text(content: str) -> str:
    """A basic string in TOML. JSON escapes the same characters, but not DEL."""
    return json.dumps(content, ensure_ascii=False).replace("\x7f", "\\u007F")


def name(content: str) -> str:
    """A key of TOML: bare if it may be."""
    return content if _BARE.fullmatch(content) else text(content)


def _comments(report: Report) -> Mapping[str, list[str]]:
    """The changes of each model, as comments in front of its table."""
    comments: dict[str, list[str]] = {}
    for finding in report.of(Disposition.CHANGED):
        model = finding.setting.partition("] ")[2].partition(".litellm_params")[0]
        if finding.setting.startswith("model_list["):
            comments.setdefault(model, []).append(_comment(finding))
    return comments


def _comment(finding: ImportFinding) -> str:
    return f"# {finding.line}: {finding.setting}: {finding.text}"


def _left_out(report: Report) -> Iterator[str]:
    findings = report.of(Disposition.LEFT_OUT)
    if findings:
        yield "# Left out:"
        yield from map(_comment, findings)
