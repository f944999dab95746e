"""Takes over prices of ``litellm_params`` and ``model_info``: per token there, per million tokens here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

from ...config.errors import InvalidValue
from ...config.price_syntax import PRICE
from .report import Report
from .yaml_tree import Entry, Node

#: The names of LiteLLM's ``ModelInfoBase`` that are prices of a token, and ours.
PRICED: Mapping[str, str] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "write_5m",
    "cache_creation_input_token_cost_above_1hr": "write_1h",
    "input_cost_per_audio_token": "input_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "input_cost_per_character": "characters",
}
#: The most characters of a price.
_LONGEST = 40


def price_of(params: Node, info: Node | None, at: str, report: Report) -> dict[str, str]:
    """The price of a deployment, US dollars per million by unit; empty if it names none that can be used."""
    price: dict[str, str] = {}
    for setting, entry in _named(params, info, at):
        name = PRICED[entry.name]
        rate = _per_million(name, entry.node)
        if name in price:
            report.changed(entry.line, setting, "litellm_params has it too, and that one counts")
        elif rate is None:
            report.left_out(entry.line, setting, "it is not a price in US dollars, with at most 12 decimals")
        else:
            price[name] = rate
            report.mapped(entry.line, setting, f'price.{name} = "{rate}" per million')
    return price


def _named(params: Node, info: Node | None, at: str) -> Iterator[tuple[str, Entry]]:
    for section, node in (("litellm_params", params), ("model_info", info)):
        for entry in node.entries if node is not None else ():
            if entry.name in PRICED and entry.node.value is not None:
                yield f"{at}.{section}.{entry.name}", entry


def _per_million(name: str, node: Node) -> str | None:
    if not node.is_scalar or isinstance(node.value, bool) or len(node.text) > _LONGEST:
        return None
    try:
        rate = Decimal(node.text)
        if not (rate.is_finite() and 0 <= rate < 1 and rate.adjusted() >= -20):
            return None
        text = f"{(rate * 1_000_000).normalize():f}"
        PRICE.check({name: text})
    except (InvalidOperation, InvalidValue):
        return None
    return text
