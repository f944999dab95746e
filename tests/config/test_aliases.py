"""The aliases of the models that a caller may call."""

from __future__ import annotations

from flask_gateway.config.aliases import with_aliases
from flask_gateway.config.schema import ModelSettings


def test_a_caller_of_a_model_may_use_its_aliases() -> None:
    models = [ModelSettings(name="m", tiers=(), aliases=("n",)), ModelSettings(name="o", tiers=())]
    assert with_aliases(None, models) is None
    assert with_aliases(frozenset({"m*"}), models) == {"m*", "n"}
    assert with_aliases(frozenset({"m"}), models) == {"m", "n"}
    assert with_aliases(frozenset({"other"}), models) == {"other"}
