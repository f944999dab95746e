"""Tags of requests: names that the key allows, for reports, and never a reason to refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.waiting import until

from flask_gateway.model.call import Caller
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.request_tags import tags_of

CALLER = Caller("web", 0, tags={"env": "prod"}, request_tags=frozenset({"feature", "env", "user"}))


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (None, {}),
        ("", {}),
        ("=", {}),
        ("feature", {}),
        ("feature=", {}),
        ("feature=" + "x" * 65, {}),
        ("feature=a\x00b", {}),
        ("other=1", {}),
        ("env=test", {}),
        ("," * 100 + "feature=late", {}),
        (" feature = search , user=7,other=1", {"feature": "search", "user": "7"}),
        ("feature=a=b,feature=c", {"feature": "c"}),
    ],
)
def test_allowed_names_with_a_value_are_added_to_the_tags_of_the_key(
    text: str | None, tags: dict[str, str]
) -> None:
    assert tags_of(CALLER, text) == {"env": "prod", **tags}


def test_usage_is_reported_by_tags_of_requests(tmp_path: Path, store: MemoryStore) -> None:
    admins = AdminClient(tmp_path / "data", store)
    key = admins.make(tags={"env": "prod"}, limits={"request_tags": ["feature"]})
    deaf = admins.make()
    for secret, value in ((key["secret"], "search"), (key["secret"], "chat"), (deaf["secret"], "search")):
        assert admins.chat(secret, x_gateway_tags=f"feature={value}").status_code == 200

    def calls() -> dict[str, int]:
        rows = (admins.ask("GET", "/usage?by=tag").json or {}).get("data", ())
        return {row["tag"]: row["calls"] for row in rows}

    assert until(lambda: calls() == {"env=prod": 2, "feature=search": 1, "feature=chat": 1})
