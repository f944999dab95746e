"""Sums of settled legs: those that are left out or unknown first, then each row that a leg counts in."""

from __future__ import annotations

from typing import Any

import msgspec
from kit.ledger_lines import CALENDAR, NOW, settled

from flask_gateway.ledger import posting
from flask_gateway.ledger.posting import Batch, Place, bucket_of, owner, subjects
from flask_gateway.model.units import Units

DAY = 86400


def batch_of(*changes: dict[str, Any]) -> Batch:
    batch = Batch(CALENDAR)
    for n, change in enumerate(changes, 1):
        batch.add(settled(n, **change), Place(1, n))
    return batch


def test_a_leg_without_cost_and_tokens_has_no_row() -> None:
    batch = batch_of({"cost": 0, "units": Units(requests=0)})
    assert (batch.charges, batch.buckets, batch.balances, batch.user_days) == ([], {}, {}, {})


def test_an_unknown_cost_is_counted_and_adds_nothing() -> None:
    (sums,) = batch_of({"cost": None}, {"cost": 5}).buckets.values()
    assert (sums.calls, sums.unpriced, sums.cost) == (2, 1, 5)


def test_an_adjustment_is_no_call_and_changes_one_balance() -> None:
    batch = batch_of({"source": "adjustment", "upstream_model": "team:t", "cost": -5, "key": ""})
    assert {subject for subject, _, _ in batch.balances} == {"team:t"}
    assert {(sums.calls, sums.cost) for sums in batch.balances.values()} == {(0, -5)}


def test_several_legs_are_one_call() -> None:
    (sums,) = batch_of({"leg": 0, "end": False}, {"leg": 1}).buckets.values()
    assert (sums.calls, sums.legs, sums.input, sums.cost) == (1, 2, 20, 3)


def test_a_leg_counts_for_each_of_its_subjects_in_each_window() -> None:
    line = {"team": "t", "user": "ann", "cost": 7}
    batch = batch_of(line)
    found = subjects(settled(1, **line))
    assert set(found) == {
        *("key:key_a", "key:key_a/model:m", "model:m", "all"),
        *("team:t", "team:t/model:m", "user:t/ann"),
    }
    assert {(subject, window) for subject, window, _ in batch.balances} == {
        (subject, window) for subject in found for window in ("day", "week", "month", "total")
    }
    assert {sums.cost for sums in batch.balances.values()} == {7}


def test_users_of_two_owners_with_one_name_are_two() -> None:
    batch = batch_of({"user": "ann", "team": "t"}, {"user": "ann"}, {"user": ""})
    assert [group[1:] for group in batch.user_days] == [("t", "ann"), ("key_a", "ann")]
    assert (owner(settled(1, team="t")), owner(settled(1))) == ("t", "key_a")


def test_a_day_keeps_so_many_tags_apart_and_the_next_day_begins_again() -> None:
    most = posting.TAG_VALUES
    batch = batch_of(*({"tags": {"run": str(n)}} for n in range(most + 2)), {"tags": {"run": "0"}})
    assert len(batch.tag_days) == most + 1
    assert batch.tag_days[NOW, "run", "other"].calls == 2
    assert batch.tag_days[NOW, "run", "0"].calls == 2
    batch.add(settled(1, at=NOW + DAY, tags={"run": "new"}), Place(1, 1))
    assert batch.tag_days[NOW + DAY, "run", "new"].calls == 1


def test_a_bucket_is_an_hour() -> None:
    moments = (NOW, NOW + 3599.9, NOW + 3600)
    assert [group[0] for group in batch_of(*({"at": at} for at in moments)).buckets] == [NOW, NOW + 3600]
    assert bucket_of(settled(1, at=NOW + 3600), CALENDAR) == (NOW + 3600, "key_a", "", "m", "up", "reported")


def test_units_without_a_column_are_kept_as_json() -> None:
    plain, searched = batch_of({}, {"units": Units(input=1, output=2, searches=3)}).charges
    assert plain[16] == ""
    assert msgspec.json.decode(str(searched[16])) == {"searches": 3}
