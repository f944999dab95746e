"""Parses routes: candidates as ``upstream[/model]``, tiers of candidates, and fallbacks by model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .body_fields import BODY_FIELDS
from .errors import InvalidValue, dotted, nearest
from .file_quirks import QUIRKS
from .price_syntax import PRICE
from .schema import FORMER_BALANCE, Balance, CandidateSettings, Timeouts
from .value_types import UPSTREAM_NAME, BaseType, Name, OneOf, Seconds, TextLine, ValueType, WholeNumber

CANDIDATE = "upstream or upstream/model"
_UPSTREAM = Name(UPSTREAM_NAME)
_MODEL = TextLine("the name of a model")

#: The timeouts of an upstream or a candidate, by their names in the file.
CLOCKS: Mapping[str, ValueType] = {
    f"{clock}_seconds": Seconds("a number of seconds above 0") for clock in Timeouts.__struct_fields__
}


def clocks_of(fields: Mapping[str, Any]) -> dict[str, float]:
    """The timeouts that are set, by their names in :class:`Timeouts`."""
    return {name.removesuffix("_seconds"): value for name, value in fields.items() if name in CLOCKS}


#: The fields of a candidate that is written as a table.
_FIELDS: Mapping[str, ValueType] = {
    "upstream": _UPSTREAM,
    "model": _MODEL,
    "weight": WholeNumber("a whole number, at least 1", 1, 1000),
    "max_in_flight": WholeNumber("a whole number of calls at once, 0 for unlimited"),
    "max_output_tokens": QUIRKS["max_output_tokens"],
    "set": BODY_FIELDS,
    "default": BODY_FIELDS,
    "price": PRICE,
    **CLOCKS,
}


#: Those that a candidate keeps under their own names.
_PLAIN = ("weight", "max_in_flight", "max_output_tokens", "set", "default", "price")


def read_candidate(text: str, asked: str) -> CandidateSettings:
    """Parse a candidate that is written as one word.

    :param asked: the name that callers use. It is the upstream's name too, unless the text gives one.
    :raises InvalidValue: the text is not a candidate.
    """
    upstream, slash, model = text.strip().partition("/")
    if slash and not model:
        raise InvalidValue(f"{CANDIDATE}, such as openai/gpt-4o")
    return CandidateSettings(upstream=_UPSTREAM.parse(upstream), model=_MODEL.parse(model or asked))


class Fallbacks(BaseType, frozen=True):
    """``model=upstream[/model],upstream2;model2=…`` in the environment."""

    def parse(self, text: str) -> Mapping[str, tuple[CandidateSettings, ...]]:
        chains: dict[str, tuple[CandidateSettings, ...]] = {}
        for entry in (entry.strip() for entry in text.split(";")):
            if not entry:
                continue
            model, equals, chain = entry.partition("=")
            model = model.strip()
            if not equals or model in chains:
                raise InvalidValue(self.expected, f"{model} appears twice" if equals else None)
            chains[_MODEL.parse(model)] = tuple(read_candidate(word, model) for word in chain.split(","))
        return chains


class Tiers(BaseType, frozen=True):
    """A list of tiers in the file. A tier is a list of candidates, each a word or a table."""

    def check(self, value: object) -> tuple[tuple[Any, ...], ...]:
        if not isinstance(value, list) or not value:
            raise InvalidValue(self.expected)
        return tuple(self._tier(tier) for tier in value)

    def _tier(self, tier: object) -> tuple[str | dict[str, Any], ...]:
        if not isinstance(tier, list) or not tier:
            raise InvalidValue(self.expected)
        return tuple(self._candidate(candidate) for candidate in tier)

    def _candidate(self, candidate: object) -> str | dict[str, Any]:
        if isinstance(candidate, str):
            read_candidate(candidate, "a")
            return candidate
        if not isinstance(candidate, dict) or "upstream" not in candidate:
            raise InvalidValue(self.expected)
        for name in candidate:
            if name not in _FIELDS:
                raise InvalidValue(f"fields of a candidate: {', '.join(_FIELDS)}", nearest(name, _FIELDS))
        return {name: _FIELDS[name].check(value) for name, value in candidate.items()}


class Chain(BaseType, frozen=True):
    """A list of candidates in the file, each a word."""

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise InvalidValue(self.expected)
        for word in value:
            read_candidate(word, "a")
        return tuple(value)


def candidates_of(written: tuple[Any, ...], asked: str) -> tuple[CandidateSettings, ...]:
    """The candidates of a tier or a chain that :class:`Tiers` or :class:`Chain` has checked."""
    return tuple(
        read_candidate(candidate, asked) if isinstance(candidate, str) else _from_table(candidate, asked)
        for candidate in written
    )


def _from_table(fields: Mapping[str, Any], asked: str) -> CandidateSettings:
    return CandidateSettings(
        upstream=fields["upstream"],
        model=fields.get("model", asked),
        clocks=clocks_of(fields),
        **{name: fields[name] for name in _PLAIN if name in fields},
    )


def with_body_fields(candidate: CandidateSettings, fields: Mapping[str, Any]) -> CandidateSettings:
    """The candidate with the body fields of its model: ``set`` and ``default``. Its own fields win."""
    given = {name: fields[name] for name in ("set", "default") if fields.get(name)}
    merged = {name: {**value, **getattr(candidate, name)} for name, value in given.items()}
    return msgspec.structs.replace(candidate, **merged) if merged else candidate


def former_names(models: object) -> Iterator[str]:
    """Warn of values that have been renamed."""
    for name, table in models.items() if isinstance(models, dict) else ():
        value = table.get("balance") if isinstance(table, dict) else None
        if isinstance(value, str) and value in FORMER_BALANCE:
            setting = dotted("models", name, "balance")
            yield f"{setting} = {value} is an old name: write {FORMER_BALANCE[value]}"


BALANCE = OneOf("in_order, round_robin or least_requests", tuple(Balance), tuple(FORMER_BALANCE))
TIERS = Tiers('a list of tiers, such as [["llama/llama-3-8b", "spare"], ["openai/gpt-4o-mini"]]')
CHAIN = Chain('a list such as ["spare", "openai/gpt-4o-mini"]')
