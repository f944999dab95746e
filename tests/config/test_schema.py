"""Tests the values of settings: nothing that is printed holds a secret, and timeouts fit each other."""

from __future__ import annotations

import pytest
from kit.calls import make_settings

from flask_gateway.config.schema import (
    MASK,
    Balance,
    ClientCertificate,
    Proxy,
    Secret,
    Timeouts,
    UpstreamSettings,
    mask_url,
)

HIDDEN = "hunter2-of-a-test"


@pytest.mark.parametrize(
    "value",
    [
        Secret(HIDDEN),
        Proxy("http", "proxy.test", 80, Secret(f"user:{HIDDEN}")),
        ClientCertificate(("a.pem",), Secret(HIDDEN)),
        UpstreamSettings(name="a", url="http://a.test", api_key=Secret(HIDDEN)),
        make_settings(state=f"redis://:{HIDDEN}@host/0"),
    ],
)
def test_no_text_of_a_value_has_its_secret(value: object) -> None:
    for text in (str(value), repr(value), f"{value}", repr([value])):
        assert HIDDEN not in text


def test_a_secret_is_compared_by_its_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a").reveal() == "a"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", f"redis://{MASK}@host:6379/0"),
        ("http://host/v1", "http://host/v1"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_timeouts_follow_from_the_general_one_and_an_upstreams_own_count_first() -> None:
    within = Timeouts.within(5, 20)
    assert (within.first_byte, within.idle) == (5, 5)
    own = within.with_own({"idle": 7.0})
    assert (own.idle, own.first_byte) == (7.0, 5)


def test_former_names_of_a_balance_are_accepted() -> None:
    assert Balance("least_busy") is Balance("least_requests")
    assert Balance("in_turn") is Balance("round_robin")
    with pytest.raises(ValueError, match="any"):
        Balance("any")
