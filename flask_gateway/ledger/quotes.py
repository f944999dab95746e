"""Tells what a call may cost before it is sent: at the price of its dearest candidate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..model.call import Call
from ..model.errors import ModelNotPriced
from ..model.limits import Estimate
from ..model.money import cost
from ..pricing.rates import ModelPrice, Rates
from .costing import Costing


class Quote(NamedTuple):
    """The expected and the highest cost of a call, nano-dollars.

    :param expected: by the estimate of its tokens. :param most: by their ceiling.
    """

    expected: int
    most: int


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

    def of(self, call: Call, estimate: Estimate) -> Quote:
        """Quote a call.

        :raises ModelNotPriced: the price of a candidate is unknown, so what the call costs may be, too.
        """
        now, expected, most = self._clock(), 0, 0
        for upstream, model in self._candidates(call):
            price = self._costing.price(upstream, model)
            quote = None if price is None else _quote(price, estimate, now)
            if quote is None:
                raise ModelNotPriced(
                    f"A budget covers this call, and the price of the model '{model}' at the upstream "
                    f"'{upstream}' is not known, so the model may not be called. "
                    f'The operator writes it into the settings, in [prices."{upstream}/{model}"].',
                    param="model",
                )
            expected, most = max(expected, quote.expected), max(most, quote.most)
        return Quote(expected, max(expected, most))


def _quote(price: ModelPrice, estimate: Estimate, now: float) -> Quote | None:
    rates, dearest = price.rates(estimate.input, now), price.rates(estimate.most_input, now)
    if rates is None or dearest is None:
        return None
    if (estimate.input and rates.input is None) or (estimate.output and rates.output is None):
        return None
    request = (1, rates.requests or 0)
    expected = cost(((estimate.input, rates.input or 0), (estimate.output, rates.output or 0), request))
    read, written = _dearest(dearest)
    return Quote(expected, cost(((estimate.most_input, read), (estimate.most_output, written), request)))


def _dearest(rates: Rates) -> tuple[int, int]:
    """The highest rates of a token of the prompt and of the answer."""
    read = (rates.input, rates.write_5m, rates.write_1h, rates.input_audio, rates.input_image)
    written = (rates.output, rates.reasoning, rates.output_audio, rates.output_image)
    return max(rate or 0 for rate in read), max(rate or 0 for rate in written)
