"""The cost that a call may have, before it is sent: unknown prices first, then the dearest candidate."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call
from kit.ledger_lines import NOW

from flask_gateway.ledger.costing import Costing
from flask_gateway.ledger.quotes import Quotes
from flask_gateway.model.call import Call
from flask_gateway.model.direct import Direct
from flask_gateway.model.errors import ModelNotPriced
from flask_gateway.model.limits import Estimate
from flask_gateway.model.units import Units
from flask_gateway.pricing.rates import FREE, ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices


def priced(**rates: int) -> ModelPrice:
    return ModelPrice((Period(Rates(**rates)),))


#: 1 and 2 US dollars per million tokens, and twice that.
PRICES = {
    ("up", "m"): priced(input=1_000_000, output=2_000_000),
    ("dear", "m"): priced(input=2_000_000, output=4_000_000),
    ("embeds", "m"): priced(input=1_000_000),
    ("thinks", "m"): priced(input=1_000_000, output=2_000_000, reasoning=9_000_000, requests=5_000),
    ("own", "m"): FREE,
}
ESTIMATE = Estimate(input=1000, output=500, most_input=2000, most_output=1000)


class Candidates:
    """The upstreams of every call, and how often they were asked for."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, 0

    def __call__(self, call: Call) -> list[tuple[str, str]]:
        self.asked += 1
        return [(name, call.model) for name in self.names]


def quotes(*names: str) -> Quotes:
    return Quotes(Costing(Prices(PRICES, []), {}), Candidates(*names), lambda: NOW)


def test_one_candidate_without_a_price_refuses_the_call() -> None:
    for compute in (quotes("up", "new").expected, quotes("up", "new").most):
        with pytest.raises(ModelNotPriced, match=r'\[prices\."new/m"\]') as caught:
            compute(make_call(), ESTIMATE)
        assert caught.value.param == "model"


def test_a_price_that_lacks_a_rate_serves_calls_that_do_not_use_it() -> None:
    one = quotes("embeds")
    for compute in (one.expected, one.most):
        with pytest.raises(ModelNotPriced):
            compute(make_call(), ESTIMATE)
    without_answer = Estimate(1000, 0, 2000, 0)
    assert (one.expected(make_call(), without_answer), one.most(make_call(), without_answer)) == (
        *(1_000_000, 2_000_000),
    )


def test_the_dearest_candidate_counts() -> None:
    for names in (("up", "dear"), ("dear", "up")):
        assert quotes(*names).expected(make_call(), ESTIMATE) == 4_000_000
    assert quotes("own").most(make_call(), ESTIMATE) == 0
    assert quotes().expected(make_call(), ESTIMATE) == 0


def test_the_most_takes_the_highest_rate_of_each_side() -> None:
    assert quotes("thinks").expected(make_call(), ESTIMATE) == 2_000_005
    assert quotes("thinks").most(make_call(), ESTIMATE) == 2000 * 1000 + 1000 * 9000 + 5


def test_a_part_of_a_nano_dollar_is_rounded_up() -> None:
    costing = Costing(Prices({("up", "m"): priced(input=1, output=1)}, []), {})
    one = Quotes(costing, Candidates("up"), lambda: NOW)
    assert (one.expected(make_call(), ESTIMATE), one.most(make_call(), ESTIMATE)) == (2, 3)


def test_candidates_are_remembered_until_the_prices_change() -> None:
    costing, candidates = Costing(Prices(PRICES, []), {}), Candidates("up")
    one = Quotes(costing, candidates, lambda: NOW)
    assert [one.expected(make_call(), ESTIMATE) for _ in range(3)] == [2_000_000] * 3
    assert candidates.asked == 1
    costing.prices = Prices({("up", "m"): FREE}, [])
    assert one.expected(make_call(), ESTIMATE) == 0
    assert candidates.asked == 2


def test_strange_names_of_models_do_not_fill_the_memory() -> None:
    one = quotes()
    for n in range(2000):
        one.expected(make_call(f"m{n}"), ESTIMATE)
    assert len(one._known[1]) <= 1024


def test_a_call_that_is_billed_by_its_unit() -> None:
    prices = Prices(
        {("up", "m"): priced(seconds=100_000_000), ("text", "m"): priced(input=1000, output=0)}, []
    )
    estimate = Estimate(600, 300, 600, 300, Units(input=600, output=300, seconds=60))
    for name, nano in (("up", 6_000_000), ("text", 600)):
        one = Quotes(Costing(prices, {}), Candidates(name), lambda: NOW)
        assert (one.expected(make_call(), estimate), one.most(make_call(), estimate)) == (nano, nano)


def test_a_raw_request_needs_a_price_of_each_request() -> None:
    table = {
        ("up", "raw"): priced(requests=1_000_000),
        ("tokens", "raw"): priced(input=1000),
        ("own", "raw"): FREE,
    }
    direct = Direct(method="GET", path="files/x", asked="/v1/raw/up/files/x", route="/v1/raw/up/files/*")
    call = msgspec.structs.replace(make_call("raw"), direct=direct, pinned="up")
    nothing = Estimate(0, 0, 0, 0)
    found = {
        name: Quotes(Costing(Prices(table, []), {}), Candidates(name)) for name in ("up", "own", "tokens")
    }
    assert (found["up"].expected(call, nothing), found["up"].most(call, nothing)) == (1000, 1000)
    assert found["own"].expected(call, nothing) == 0
    with pytest.raises(ModelNotPriced):
        found["tokens"].expected(call, nothing)
