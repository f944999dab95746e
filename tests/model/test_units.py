"""Tests the billed units: after the check no part is above its total, whatever a provider reported."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.model.units import Units

COUNTS = st.integers(-5, 50)


@given(st.fixed_dictionaries(dict.fromkeys(Units.__struct_fields__, COUNTS)))
def test_no_count_is_negative_and_no_part_exceeds_its_total(counts: dict[str, int]) -> None:
    units = Units(**counts).consistent()
    assert min(msgspec.structs.asdict(units).values()) >= 0
    assert units.write == units.write_5m + units.write_1h
    assert units.cached + units.write <= units.input
    assert max(units.input_audio, units.input_image) <= units.input
    assert max(units.reasoning, units.output_audio + units.output_image) <= units.output
    assert units.cached_audio <= min(units.cached, units.input_audio)
    assert units.consistent() == units


def test_a_consistent_report_stays_as_it_is() -> None:
    units = Units(input=10, cached=4, write=3, write_5m=3, output=5, reasoning=2)
    assert units.consistent() == units
