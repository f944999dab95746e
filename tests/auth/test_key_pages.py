"""Lists of keys and of the audit by pages: wrong parameters first."""

from __future__ import annotations

from typing import Any

import pytest
from kit.admins import AdminClient
from kit.issuing import Issuing

from flask_gateway.auth.key_pages import MOST_PAGE, audit_page, key_page, page, whole
from flask_gateway.model.errors import CallerError, InvalidField


@pytest.mark.parametrize("text", ["", "0", "501", "-1", "1.0", "1_0", "x", "\u0661", " 1", "9" * 19])
def test_a_number_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        whole("limit", text, 50, MOST_PAGE)
    assert caught.value.param == "limit"


def test_a_number_that_is_not_given_is_the_usual_one() -> None:
    assert [whole("limit", text, 50, MOST_PAGE) for text in (None, "1", "500", "007")] == [50, 1, 500, 7]


def test_a_page_after_an_unknown_key_is_404(issuing: Issuing) -> None:
    issuing.make()
    with issuing.keys.reading() as db, pytest.raises(CallerError) as caught:
        key_page(db, {"after": "key_none"}, 1000)
    assert caught.value.status == 404


def test_an_empty_page_has_no_last_entry() -> None:
    assert page([], "id", more=False) == {"object": "list", "data": [], "has_more": False, "last_id": None}


def test_the_audit_is_listed_newest_first_by_pages(issuing: Issuing) -> None:
    made = [issuing.make() for _ in range(3)]
    with issuing.keys.reading() as db:
        first: dict[str, Any] = audit_page(db, {"limit": "2"})
        rest = audit_page(db, {"limit": "2", "after": str(first["last_id"])})
        own = audit_page(db, {"subject": made[1].key["id"]})
    subjects = [entry["subject"] for entry in first["data"] + rest["data"]]
    assert subjects == [one.key["id"] for one in reversed(made)]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [entry["subject"] for entry in own["data"]] == [made[1].key["id"]]


def test_keys_are_listed_by_pages_and_filters(admins: AdminClient) -> None:
    ids = [admins.make(name=f"place-{place}", tags={"env": "ab"[place % 2]})["id"] for place in range(5)]
    pages, after = [], ""
    while True:
        page = admins.ask("GET", f"/keys?limit=2{after}").json
        pages += [key["id"] for key in page["data"]]
        after = f"&after={page['last_id']}"
        if not page["has_more"]:
            break
    assert pages == ids
    assert [key["id"] for key in admins.ask("GET", "/keys?tag=env=b").json["data"]] == ids[1::2]
    assert [key["id"] for key in admins.ask("GET", "/keys?q=place-3").json["data"]] == [ids[3]]
    assert admins.ask("GET", "/keys?state=revoked").json["data"] == []
