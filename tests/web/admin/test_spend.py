"""The spend of each entry of a list."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from kit.admins import AdminClient

from flask_gateway.ledger import database, reports
from flask_gateway.model.calendar_windows import Calendar


def test_a_list_of_keys_shows_what_each_has_spent(kept: AdminClient) -> None:
    idle = kept.make(name="idle")
    (entry,) = kept.ask("GET", "/keys?with=spend").json["data"]  # type: ignore[index]
    assert entry["id"] == idle["id"]
    assert entry["spend"] == dict.fromkeys(("day", "week", "month", "total"), "0.000000000")
    assert kept.ask("GET", "/keys?with=spent").status_code == 400


def test_spend_is_that_of_the_present_windows(data: Path, kept: AdminClient) -> None:
    with closing(database.read(data / database.NAME)) as connection:
        now = Calendar().starts(time.time())
        later = Calendar().starts(time.time() + 40 * 86400)
        (spent,), (after,) = (
            reports.spend(connection, ["key:team-a"], starts).values() for starts in (now, later)
        )
    assert spent["day"] == spent["total"] != "0.000000000"
    assert (after["month"], after["total"]) == ("0.000000000", spent["total"])
