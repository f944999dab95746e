"""The prices in force: a candidate's own, those of the file, the operator's table, the shipped one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from kit.calls import make_settings
from kit.ledger_lines import NOW

from flask_gateway.app.accounting import _follow, costing_of
from flask_gateway.app.preflight import load_checked
from flask_gateway.app.prices import TABLE
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import (
    CandidateSettings,
    LedgerSettings,
    ModelSettings,
    Settings,
    UpstreamSettings,
)
from flask_gateway.ledger.costing import Costing
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.model.units import Units
from flask_gateway.pricing.rates import Period, Rates
from flask_gateway.pricing.table import PriceTable, Provider

MILLION = Units(input=10**6, output=0)


def priced(tmp_path: Path, **changes: object) -> Settings:
    upstreams = (
        UpstreamSettings(name="openai", url="https://api.openai.com/v1"),
        UpstreamSettings(name="proxy", url="http://proxy.test/v1", prices="openai"),
        UpstreamSettings(name="own", url="http://own.test/v1", prices="free"),
        UpstreamSettings(name="other", url="http://other.test/v1"),
    )
    return make_settings(
        **{"upstreams": upstreams, "models": (), "ledger": LedgerSettings(data=str(tmp_path)), **changes}
    )


def cost(costing: Costing, upstream: str, model: str, moment: float = NOW) -> int | None:
    price = costing.price(upstream, model)
    return None if price is None else price.cost(MILLION, moment)


def test_the_provider_is_found_by_url_or_by_name(tmp_path: Path) -> None:
    costing = costing_of(priced(tmp_path), tmp_path)
    assert cost(costing, "openai", "gpt-4o-mini") == cost(costing, "proxy", "gpt-4o-mini") == 150_000_000
    assert cost(costing, "own", "anything") == 0
    assert cost(costing, "other", "gpt-4o-mini") is None


def test_a_price_of_the_settings_wins(tmp_path: Path) -> None:
    own = PriceOverride(rates={"input": 7 * 10**6, "output": 0})
    candidate = CandidateSettings(upstream="other", model="m", price=own)
    costing = costing_of(
        priced(
            tmp_path,
            models=(ModelSettings(name="fast", tiers=((candidate,),)),),
            prices={
                "openai/gpt-4o-mini": PriceOverride(discount=100_000),
                "openai/gpt-4o": PriceOverride(rates={"input": 10**6}, begins=NOW),
                "other/free": PriceOverride(free=True),
                "other/m": PriceOverride(free=True),
                "other/unknown": PriceOverride(discount=500_000),
            },
        ),
        tmp_path,
    )
    assert cost(costing, "openai", "gpt-4o-mini") == 135_000_000
    assert cost(costing, "openai", "gpt-4o", NOW - 0.1) == 2_500_000_000
    assert cost(costing, "openai", "gpt-4o", NOW) == 1_000_000_000
    assert cost(costing, "other", "free") == 0
    assert cost(costing, "other", "m") == 7_000_000_000
    assert cost(costing, "other", "unknown") is None


def test_the_operators_table_comes_before_the_shipped_one_and_is_followed(tmp_path: Path) -> None:
    settings = priced(tmp_path)
    costing = costing_of(settings, tmp_path)
    models = {"gpt-4o-mini": (Period(Rates(input=1_000, output=0)),)}
    table = PriceTable("mine", "2026-11-27", {"openai": Provider("https://api\\.openai\\.com", models)})
    (tmp_path / TABLE).write_bytes(msgspec.json.encode(table))
    _follow(costing, settings, tmp_path)
    assert cost(costing, "openai", "gpt-4o-mini") == 1_000_000
    assert cost(costing, "openai", "gpt-4o") == 2_500_000_000
    os.unlink(tmp_path / TABLE)
    _follow(costing, settings, tmp_path)
    assert cost(costing, "openai", "gpt-4o-mini") == 150_000_000


def test_a_broken_table_is_logged_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / TABLE).write_text("{")
    assert cost(costing_of(priced(tmp_path), tmp_path), "openai", "gpt-4o-mini") == 150_000_000
    assert "cannot be used" in caplog.text


def test_an_unknown_provider_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[ledger]\ndata = "d"\n[upstreams.a]\nurl = "https://a.test"\nprices = "opnai"\n')
    with pytest.raises(ConfigError) as error:
        load_checked({"GATEWAY_CONFIG": str(file)}, [], None)
    assert "did you mean openai" in str(error.value)
