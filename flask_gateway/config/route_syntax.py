"""How a route is written: a candidate as ``upstream[/model]``, tiers of them, and fallbacks by model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import InvalidValue, nearest
from .schema import FORMER_BALANCE, Balance, CandidateSettings, Timeouts
from .value_types import UPSTREAM_NAME, BaseType, Name, OneOf, Seconds, TextLine, ValueType, WholeNumber

CANDIDATE = "upstream or upstream/model"
_UPSTREAM = Name(UPSTREAM_NAME)
_MODEL = TextLine("the name of a model")

#: The clocks of an upstream, or of a candidate, by their names in the file.
CLOCKS: Mapping[str, ValueType] = {
    f"{clock}_seconds": Seconds("a number of seconds above 0") for clock in Timeouts.__struct_fields__
}


def clocks_of(fields: Mapping[str, Any]) -> dict[str, float]:
    """Those that are set, by their names in ``Timeouts``."""
    return {name.removesuffix("_seconds"): value for name, value in fields.items() if name in CLOCKS}


#: The fields of a candidate that is written as a table.
_FIELDS: Mapping[str, ValueType] = {
    "upstream": _UPSTREAM,
    "model": _MODEL,
    "weight": WholeNumber("a whole number, at least 1", 1, 1000),
    "max_in_flight": WholeNumber("a whole number of calls at once, 0 for unlimited"),
    **CLOCKS,
}


def read_candidate(text: str, asked: str) -> CandidateSettings:
    """A candidate as one word.

    :param asked: the name that callers use, which the upstream is asked for unless another is given.
    :raises Unfit: it is none.
    """
    upstream, slash, model = text.strip().partition("/")
    if slash and not model:
        raise InvalidValue(f"{CANDIDATE}, such as openai/gpt-4o")
    return CandidateSettings(upstream=_UPSTREAM.parse(upstream), model=_MODEL.parse(model or asked))


class Fallbacks(BaseType, frozen=True):
    """``model=upstream[/model],upstream2;model2=…``, of the environment."""

    def parse(self, text: str) -> Mapping[str, tuple[CandidateSettings, ...]]:
        found: dict[str, tuple[CandidateSettings, ...]] = {}
        for entry in (entry.strip() for entry in text.split(";")):
            if not entry:
                continue
            model, equals, chain = entry.partition("=")
            model = model.strip()
            if not equals or model in found:
                raise InvalidValue(self.expected, f"{model} stands there twice" if equals else None)
            found[_MODEL.parse(model)] = tuple(read_candidate(one, model) for one in chain.split(","))
        return found


class Tiers(BaseType, frozen=True):
    """A list of tiers, each a list of candidates, each a word or a table; of the file."""

    def check(self, value: object) -> tuple[tuple[Any, ...], ...]:
        if not isinstance(value, list) or not value:
            raise InvalidValue(self.expected)
        return tuple(self._tier(tier) for tier in value)

    def _tier(self, tier: object) -> tuple[str | dict[str, Any], ...]:
        if not isinstance(tier, list) or not tier:
            raise InvalidValue(self.expected)
        return tuple(self._candidate(one) for one in tier)

    def _candidate(self, one: object) -> str | dict[str, Any]:
        if isinstance(one, str):
            read_candidate(one, "a")
            return one
        if not isinstance(one, dict) or "upstream" not in one:
            raise InvalidValue(self.expected)
        for name in one:
            if name not in _FIELDS:
                raise InvalidValue(f"fields of a candidate: {', '.join(_FIELDS)}", nearest(name, _FIELDS))
        return {name: _FIELDS[name].check(value) for name, value in one.items()}


class Chain(BaseType, frozen=True):
    """A list of candidates, each a word; of the file."""

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
            raise InvalidValue(self.expected)
        for one in value:
            read_candidate(one, "a")
        return tuple(value)


def candidates_of(written: tuple[Any, ...], asked: str) -> tuple[CandidateSettings, ...]:
    """The candidates of a tier or a chain that a kind above has found fit."""
    return tuple(
        read_candidate(one, asked) if isinstance(one, str) else _from_table(one, asked) for one in written
    )


def _from_table(fields: Mapping[str, Any], asked: str) -> CandidateSettings:
    return CandidateSettings(
        upstream=fields["upstream"],
        model=fields.get("model", asked),
        clocks=clocks_of(fields),
        **{name: fields[name] for name in ("weight", "max_in_flight") if name in fields},
    )


BALANCE = OneOf("in_order, round_robin or least_requests", tuple(Balance), tuple(FORMER_BALANCE))
TIERS = Tiers('a list of tiers, such as [["llama/llama-3-8b", "spare"], ["openai/gpt-4o-mini"]]')
CHAIN = Chain('a list such as ["spare", "openai/gpt-4o-mini"]')
