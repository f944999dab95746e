"""Reads the data of genai-prices (https://github.com/pydantic/genai-prices, MIT) into a table of prices.

The file is ``prices/new_data/v2/data.json`` of that repository. Its rules match beginnings of names; only
those that read as whole names are taken over: no price is guessed. ``tools/prices.py`` compiles the shipped
table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

#: The providers of a table: makers of models, and hosts with prices of their own.
PROVIDERS = (
    "anthropic", "arcee", "aws", "azure", "baseten", "cerebras", "cloudflare", "cohere", "databricks",
    "deepseek", "fireworks", "google", "groq", "meta", "minimax", "mistral", "moonshotai", "novita",
    "openai", "ovhcloud", "perplexity", "together", "voyageai", "x-ai", "zai", "zhipuai",
)  # fmt: skip

#: genai-prices' keys of a price: our name, and the factor from its unit to pico-dollars a unit.
PER_MILLION, _PER_THOUSAND, _PER_HOUR = Decimal(10**6), Decimal(10**9), Decimal(10**12) / 3600
KEYS = {
    "input_mtok": ("input", PER_MILLION),
    "cache_read_mtok": ("cached", PER_MILLION),
    "cache_write_mtok": ("write_5m", PER_MILLION),
    "cache_write_5m_mtok": ("write_5m", PER_MILLION),
    "cache_write_1h_mtok": ("write_1h", PER_MILLION),
    "input_audio_mtok": ("input_audio", PER_MILLION),
    "cache_audio_read_mtok": ("cached_audio", PER_MILLION),
    "input_image_mtok": ("input_image", PER_MILLION),
    "output_mtok": ("output", PER_MILLION),
    "output_reasoning_mtok": ("reasoning", PER_MILLION),
    "output_audio_mtok": ("output_audio", PER_MILLION),
    "output_image_mtok": ("output_image", PER_MILLION),
    "requests_kcount": ("requests", _PER_THOUSAND),
    "web_searches_kcount": ("searches", _PER_THOUSAND),
    "input_audio_hours": ("seconds", _PER_HOUR),
    "audio_hours": ("seconds", _PER_HOUR),
    "input_mchars": ("characters", PER_MILLION),
}
#: Units that the gateway does not count. A model that has nothing else is left out.
UNCOUNTED = {
    "storage_searches_kcount", "cache_image_read_mtok", "input_document_kpages",
    "input_annotated_document_kpages",
    "input_video_mtok", "output_video_mtok", "input_text_messages_kcount", "output_citation_mtok",
}  # fmt: skip
#: Rates that replace those of genai-prices, US dollars per million; ``tools/prices.py`` says why.
CORRECTED = {"mistral/mistral-large-latest": {"input": "0.5", "output": "1.5", "cached": "0.05"}}
#: The context that selects other prices, as answers report it.
_SERVICE = {"service_tier", "processing", "speed"}

Json = Mapping[str, Any]


class UnknownUnit(ValueError):
    """A price has a unit that nobody has decided on."""


class Compiled(NamedTuple):
    """A table as ``table.json.gz`` has it, and the models that were left out, each with its reason."""

    table: dict[str, Any]
    left_out: list[str]


def compile_json(text: bytes, version: str, made: date) -> Compiled:
    """Compile the file.

    :raises ValueError: it is no such file; the text says where.
    """
    providers = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    try:
        return compile_table({entry["id"]: entry for entry in providers}, version, made)
    except (KeyError, TypeError, AttributeError, ArithmeticError, re.error) as error:
        raise ValueError(f"this is no data.json of genai-prices: {type(error).__name__} {error}") from None


def compile_table(by_id: Mapping[str, Json], version: str, made: date) -> Compiled:
    """Compile providers as the JSON has them. A model with an unknown unit is left out."""
    left_out: list[str] = []
    providers = {name: _provider(by_id[name], left_out) for name in PROVIDERS if name in by_id}
    if not providers:
        raise KeyError("no provider that this gateway knows")
    return Compiled({"version": version, "made": made.isoformat(), "providers": providers}, left_out)


def _provider(provider: Json, left_out: list[str]) -> dict[str, Any]:
    re.compile(provider["api_pattern"])
    models: dict[str, Any] = {}
    for model in provider["models"]:
        name = f"{provider['id']}/{model['id']}"
        try:
            periods = list(_periods(model))
        except UnknownUnit as error:
            left_out.append(f"{name}: {error}")
            continue
        if any(set(period["rates"]) - {"searches", "requests"} for period in periods):
            models[model["id"].lower()] = corrected(name, periods)
    for model in provider["models"]:
        for alias in _names(model.get("match") or {}):
            if model["id"].lower() in models and alias not in models:
                models[alias] = model["id"].lower()
    like = [name for name in provider.get("fallback_model_providers") or () if name in PROVIDERS]
    entry = {"url": provider["api_pattern"], "models": models}
    return {**entry, "like": like} if like else entry


def corrected(name: str, periods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The periods of a model, with the rates that are known better."""
    if name not in CORRECTED:
        return periods
    rates = {unit: int(Decimal(price) * PER_MILLION) for unit, price in CORRECTED[name].items()}
    return [{"rates": {**period["rates"], **rates}} for period in periods[-1:]]


def _periods(model: Json) -> Iterator[dict[str, Any]]:
    prices = model["prices"]
    for price in prices if isinstance(prices, list) else [{"prices": prices}]:
        yield _period(price["prices"], price.get("constraint"))
    for variant in model.get("price_variants") or ():
        if set(variant["when"]) <= _SERVICE and len(variant["when"]) == 1:
            period = _period(variant["prices"], variant.get("constraint"))
            if period["rates"]:
                yield {**period, "service": next(iter(variant["when"].values()))}


def _period(prices: Json, constraint: Json | None) -> dict[str, Any]:
    rates: dict[str, int] = {}
    tiers: dict[int, dict[str, int]] = {}
    for key, value in prices.items():
        if value is None or key in UNCOUNTED:
            continue
        if key not in KEYS:
            raise UnknownUnit(f"the unit {key} is not known to this version")
        name, factor = KEYS[key]
        tiered = isinstance(value, Mapping)
        rates[name] = pico(value["base"] if tiered else value, factor)
        for tier in value.get("tiers", ()) if tiered else ():
            tiers.setdefault(int(tier["start"]), {})[name] = pico(tier["price"], factor)
    period: dict[str, Any] = {"rates": rates, **_when(constraint)}
    if tiers:
        period["tiers"] = [{"above": above, "rates": tiers[above]} for above in sorted(tiers)]
    return period


def pico(price: Decimal, factor: Decimal) -> int:
    """Pico-dollars a unit, rounded up to a whole one.

    :raises ValueError: it is below 0.
    """
    exact = Decimal(price) * factor
    if not exact >= 0:
        raise ValueError(f"a price of {price}")
    return int(exact) + (exact > int(exact))


def _when(constraint: Json | None) -> dict[str, Any]:
    if not constraint:
        return {}
    if "start_date" in constraint:
        begins = datetime.combine(date.fromisoformat(constraint["start_date"]), time(), UTC)
        return {"from": int(begins.timestamp())}
    return {"hours": [_second(constraint["start_time"]), _second(constraint["end_time"])]}


def _second(text: str) -> int:
    """The second of the UTC day of a time of day. One without a zone is in UTC."""
    moment = time.fromisoformat(text)
    at = datetime.combine(datetime(2000, 1, 2, tzinfo=UTC), moment)
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.hour * 3600 + at.minute * 60 + at.second


def _names(clause: Json) -> Iterator[str]:
    """The whole names that a clause matches. A beginning counts where it reads as a name."""
    for part in clause.get("or", ()):
        yield from _names(part)
    if text := clause.get("equals"):
        yield text.lower()
    text = clause.get("starts_with")
    if text and text[-1].isalnum() and text[-5:-3] != "-2":
        yield text.lower()
