"""Tells what a call may cost before it is sent: at the price of its dearest candidate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..model.call import Call
from ..model.errors import ModelNotPriced
from ..model.limits import Estimate
from ..pricing.rates import FREE, ModelPrice, Rates, amount
from ..pricing.table import Prices
from .costing import Costing

#: Models whose prices are remembered.
_REMEMBERED = 1024


class _Plain(NamedTuple):
    """Rates that apply to every call of a model at every time, pico-dollars a token and a call."""

    input: int
    output: int
    call: int


class _Priced(NamedTuple):
    """The candidates of a model: upstreams, each with its name for the model and the price of that.

    :param plain: of the only candidate; ``None`` where there are several, or the rates depend on the call.
    """

    candidates: tuple[tuple[str, str, ModelPrice | None], ...]
    plain: _Plain | None


_UNKNOWN = _Priced((), None)
#: Computes the cost of a call at a price, nano-dollars; ``None`` if a part of it has no rate.
_Cost = Callable[[ModelPrice, Estimate, float], int | None]


class Quotes:
    """The prices of the candidates of calls.

    :param candidates: the upstreams that may answer a call, each with its name for the model.
    :param clock: epoch seconds.
    """

    def __init__(
        self,
        costing: Costing,
        candidates: Callable[[Call], Iterable[tuple[str, str]]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._costing = costing
        self._candidates = candidates
        self._clock = clock
        #: The prices of the candidates of each model, and the tables that they are from.
        self._known: tuple[Prices, dict[str, _Priced]] = costing.prices, {}

    def expected(self, call: Call, estimate: Estimate) -> int:
        """Return the expected cost of a call, nano-dollars.

        :raises ModelNotPriced: the price of a candidate is unknown, so the cost of the call may be, too.
        """
        prices, known = self._known
        if prices is self._costing.prices and estimate.units is None and _is_usual(call):
            plain = known.get(call.model, _UNKNOWN).plain
            if plain is not None:
                pico = estimate.input * plain.input + estimate.output * plain.output + plain.call
                return -(-pico // 1000)
        return self._dearest(call, estimate, _expected)

    def most(self, call: Call, estimate: Estimate) -> int:
        """Return the highest cost of a call, nano-dollars.

        :raises ModelNotPriced: as :meth:`expected`.
        """
        return self._dearest(call, estimate, _most)

    def _dearest(self, call: Call, estimate: Estimate, compute: _Cost) -> int:
        now, dearest = self._clock(), 0
        for upstream, model, price in self._priced(call).candidates:
            cost = None if price is None else compute(price, estimate, now)
            if cost is None:
                raise ModelNotPriced(
                    f"A budget covers this call, and the price of the model '{model}' at the upstream "
                    f"'{upstream}' is not known, so the model may not be called. "
                    f'The operator writes it into the settings, in [prices."{upstream}/{model}"].',
                    param="model",
                )
            if cost > dearest:
                dearest = cost
        return dearest

    def _priced(self, call: Call) -> _Priced:
        """The candidates of a call with their prices. Those of a model are remembered."""
        prices, known = self._known
        if prices is not self._costing.prices or len(known) >= _REMEMBERED:
            self._known = _, known = self._costing.prices, {}
        usual = _is_usual(call)
        if usual and (found := known.get(call.model)) is not None:
            return found
        price = self._costing.price if call.direct is None else self._flat_price
        priced = tuple(
            (upstream, model, price(upstream, model)) for upstream, model in self._candidates(call)
        )
        found = _Priced(priced, _plain(priced[0][2]) if len(priced) == 1 else None)
        if usual:
            known[call.model] = found
        return found

    def _flat_price(self, upstream: str, model: str) -> ModelPrice | None:
        """The price of raw requests, if it has one for each request, or is free. Their usage is not read."""
        price = self._costing.price(upstream, model)
        if price is None or price.source == FREE.source:
            return price
        return price if all(period.rates.requests for period in price.periods) else None


def _is_usual(call: Call) -> bool:
    """Whether the candidates of a call are those of its model."""
    return call.fallbacks is None and call.pinned is None and call.direct is None


def _plain(price: ModelPrice | None) -> _Plain | None:
    rates = price.plain if price is not None else None
    if rates is None or rates.input is None or rates.output is None:
        return None
    return _Plain(rates.input, rates.output, rates.requests or 0)


def _expected(price: ModelPrice, estimate: Estimate, now: float) -> int | None:
    read, written = estimate.input, estimate.output
    rates = price.rates(read, now)
    if rates is not None and estimate.units is not None:
        return amount(estimate.units.consistent(), rates)
    if rates is None or (read and rates.input is None) or (written and rates.output is None):
        return None
    pico = read * (rates.input or 0) + written * (rates.output or 0) + (rates.requests or 0)
    return -(-pico // 1000)


def _most(price: ModelPrice, estimate: Estimate, now: float) -> int | None:
    rates = price.rates(estimate.most_input, now)
    if rates is not None and estimate.units is not None:
        return amount(estimate.units.consistent(), rates)
    if rates is None or _lacks(rates, estimate):
        return None
    read = (rates.input, rates.write_5m, rates.write_1h, rates.input_audio, rates.input_image)
    written = (rates.output, rates.reasoning, rates.output_audio, rates.output_image)
    pico = estimate.most_input * max(rate or 0 for rate in read)
    pico += estimate.most_output * max(rate or 0 for rate in written) + (rates.requests or 0)
    return -(-pico // 1000)


def _lacks(rates: Rates, estimate: Estimate) -> bool:
    """Whether a part that the call uses has no rate."""
    return bool((estimate.input and rates.input is None) or (estimate.output and rates.output is None))
