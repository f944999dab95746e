"""Computes the legs of a call that has ended: what each upstream's part of the answer cost.

The rates are those of the moment at which the upstream was asked. A call whose upstreams all failed before
their first content costs nothing. If its caller left before, the upstream has the whole prompt and bills it,
so the prompt is charged as estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from ..dialects.media_usage import expected_usage
from ..dialects.usage import Tally, estimate
from ..model.call import COUNTING, MEDIA, AnswerPart, Call, Operation, Outcome, Usage
from ..model.errors import CallerLeft
from ..model.spend import Leg
from ..pricing.rates import ModelPrice, Rates, amount, plain_amount
from ..pricing.table import Prices

#: The answer of a response in the background that sets no limit, tokens.
MOST_OUTPUT = 16_384
#: Rates and their digest.
_PlainRates = tuple[Rates | None, str]
#: Models whose rates are remembered.
_REMEMBERED = 1024
#: The usage of an answer that has none, such as a moderation.
_NO_USAGE = Usage()


class Costing(msgspec.Struct):
    """The prices of the upstreams of one configuration. Threads share it; one may replace its fields.

    :param providers: by upstream, the provider whose prices it has; an upstream may have none.
    :param mark: identifies the version of the operator's table; ``None``: there is none.
    """

    prices: Prices
    providers: Mapping[str, str | None]
    mark: tuple[int, ...] | None = None
    #: The prices that these are from; by upstream and model, the rates that are the same for every call.
    plain_rates: tuple[Prices | None, dict[tuple[str, str], _PlainRates]] = (None, {})

    def plain(self, upstream: str, model: str) -> _PlainRates:
        """Return the rates of a model that are the same for every call, with their digest; ``None`` and an
        empty one if they depend on the call, or are unknown."""
        prices, known = self.plain_rates
        if prices is not self.prices or len(known) >= _REMEMBERED:
            self.plain_rates = _, known = self.prices, {}
        found = known.get((upstream, model))
        if found is None:
            price = self.price(upstream, model)
            rates = None if price is None else price.plain
            found = known[upstream, model] = (rates, "" if rates is None else rates.digest)
        return found

    def price(self, upstream: str, model: str) -> ModelPrice | None:
        """Return the price of a model at an upstream, ``None`` if it is unknown."""
        return self.prices.price(upstream, self.providers.get(upstream), model)

    def legs(self, call: Call, outcome: Outcome) -> tuple[Leg, ...]:
        """Return the legs of a call that has ended, and keep them in its ``spend``.

        The one who settles first computes them: an account, or else the ledger.
        """
        spend = call.spend
        if spend is None:
            return legs_of(call, outcome, self)
        if spend.legs is None:
            spend.legs = legs_of(call, outcome, self)
        return spend.legs


def legs_of(call: Call, outcome: Outcome, costing: Costing) -> tuple[Leg, ...]:
    """Return what each upstream's part of an answer cost, in their order; empty if no upstream answered."""
    if call.operation is Operation.STORED:  # it was paid for when it was made
        return ()
    if outcome.parts:
        return tuple(_leg(part, costing) for part in outcome.parts)
    if outcome.upstream and outcome.model and (outcome.usage is not None or outcome.error is None):
        if "background" in call.fields and outcome.usage is not None:
            outcome = msgspec.structs.replace(outcome, usage=_in_background(outcome.usage, call))
        return (_leg(outcome, costing),)
    if call.operation not in COUNTING and call.attempts:  # counting is free
        last = call.attempts[-1]
        if last.result == CallerLeft.code:
            part = AnswerPart(last.upstream, last.model, _unseen(call), last.started_ns)
            return (_leg(part, costing),)
    return ()


def _unseen(call: Call) -> Usage:
    """The usage of a call whose caller left before its answer."""
    if call.operation in MEDIA:
        return expected_usage(call)
    return _in_background(estimate(call.fields, Tally()), call)


def _in_background(usage: Usage, call: Call) -> Usage:
    """The usage, or the most that a response may use which goes on after its call."""
    if usage.source != "estimated" or call.operation is not Operation.RESPONSE or not call.in_background:
        return usage
    allowed = call.decoded("max_output_tokens", 20)
    most = allowed if type(allowed) is int and allowed > 0 else MOST_OUTPUT
    return msgspec.structs.replace(usage, completion_tokens=max(usage.completion_tokens, most))


def _leg(part: AnswerPart | Outcome, costing: Costing) -> Leg:
    usage = part.usage or _NO_USAGE
    upstream, model, units = part.upstream or "", part.model or "", usage.units
    plain = not usage.parts and 0 <= units.cached <= units.input and units.output >= 0
    if not plain:
        units = units.consistent()
    rates, digest = costing.plain(upstream, model)
    if rates is None and (price := costing.price(upstream, model)) is not None:
        rates = price.rates(units.input, part.started_ns / 1e9, usage.service)
        digest = "" if rates is None else _digest(rates)
    cost = None
    if rates is not None:
        amounts = (units.input, units.cached, units.output)
        cost = plain_amount(*amounts, rates) if plain else amount(units, rates)
    return Leg(upstream=upstream, model=model, units=units, cost=cost, source=usage.source, rates=digest)


@lru_cache(1024)
def _digest(rates: Rates) -> str:
    return rates.digest
