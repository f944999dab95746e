"""Tests that the keys in LiteLLM's table go on to work, each with its limits."""

from __future__ import annotations

import csv
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.cli.command import USAGE

Import = Callable[..., Any]
GROUPS = """
model_list:
- model_name: fast
  litellm_params: {model: openai/a}
  model_info: {access_groups: [team]}
- model_name: slow
  litellm_params: {model: openai/b}
  model_info: {access_groups: [team]}
general_settings: {master_key: sk-PLANTED7secret-master}
"""


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., str]:
    """Write a table as ``\\copy … with csv header`` of PostgreSQL does."""

    def write(*rows: dict[str, str]) -> str:
        path = tmp_path / "keys.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    return write


def test_keys_keep_their_digests_limits_and_models(import_text: Import, table: Callable[..., str]) -> None:
    found = import_text(
        GROUPS,
        "--keys",
        table(
            {"token": digest("sk-one"), "key_alias": "web app", "models": '{fast,"a b"}', "rpm_limit": "60"},
            {"token": digest("sk-two"), "key_alias": "", "models": "{}", "spend": "1.5"},
            {"token": digest("sk-three"), "key_alias": "web app", "models": '["team"]', "tpm_limit": "9"},
            {"token": digest("sk-four"), "models": "{all-proxy-models}", "max_parallel_requests": "4"},
        ),
    )
    keys = found.settings["keys"]
    assert keys["web-app"] == {
        "sha256": digest("sk-one"),
        "rate_limit_per_minute": 60,
        "models": ["fast", "a b"],
    }
    assert keys["key-3"] == {"sha256": digest("sk-two")}
    assert (keys["web-app-2"]["models"], keys["web-app-2"]["tokens"]) == (["fast", "slow"], 9)
    assert keys["key-5"] == {"sha256": digest("sk-four"), "concurrent": 4}
    assert found.says("left_out", 3, "spend")


@pytest.mark.parametrize(
    ("row", "verdict", "text"),
    [
        ({"blocked": "t"}, "left_out", "it is blocked"),
        ({"expires": "2020-01-01 00:00:00"}, "left_out", "it has expired"),
        ({"expires": "2020-01-01 00:00:00+00"}, "left_out", "it has expired"),
        ({"expires": "soon"}, "left_out", "its time of expiry cannot be read"),
        ({"expires": "2999-01-01T00:00:00"}, "changed", "keys do not expire here"),
        ({"models": "{no-default-models}"}, "left_out", "it may call no model"),
        ({"models": "{all-team-models}"}, "left_out", "the models of its team"),
        ({"models": "[1"}, "mapped", "its holder notices nothing"),
        ({"models": "[1]"}, "mapped", "its holder notices nothing"),
        ({"rpm_limit": "many"}, "left_out", "not a positive whole number"),
        ({"token": "sk-PLANTED7secret-open"}, "changed", "kept in the open"),
        ({"token": ""}, "left_out", "it has no token"),
        ({"token": digest("")}, "left_out", "that of an empty key"),
        ({"token": digest("sk-PLANTED7secret-master")}, "left_out", "another row has the same token"),
        ({"max_budget": "5"}, "mapped", '[keys.key-2] budgets: amount = "5", window = "total"'),
        ({"max_budget": "lots"}, "left_out", "not an amount in US dollars"),
    ],
)
def test_a_row_that_cannot_go_on_as_it_is_is_reported(
    row: dict[str, str], verdict: str, text: str, import_text: Import, table: Callable[..., str]
) -> None:
    found = import_text(GROUPS, "--keys", table({"token": digest("sk-one"), **row}))
    assert found.says(verdict, 2, text), found.said
    assert "PLANTED7secret" not in found.text + repr(found.said)


@pytest.mark.parametrize("content", ["", "key,alias\n1,2\n", "token\n" + "x" * 200_000])
def test_a_file_that_is_no_table_of_keys_is_refused(
    content: str, import_text: Import, tmp_path: Path
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(content)
    found = import_text(GROUPS, "--keys", str(path))
    assert (found.status, found.settings) == (USAGE, {})
    assert "odd.csv" in found.said["error"][-1]
