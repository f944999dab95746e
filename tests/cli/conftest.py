"""A ledger of two calls, for the commands that read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.ledger_figures import books_in
from kit.ledger_lines import settled


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """The environment of a gateway with a ledger, a model with a price and one without."""
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[ledger]\ndata = "data"\n[upstreams.up]\nurl = "https://up.test"\n'
        '[models.m]\nupstream = "up"\n[models.dear]\nupstream = "up"\nprice = { input = "1", output = "2" }\n'
    )
    return {"GATEWAY_CONFIG": str(file)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of that gateway after two calls, one of an unknown price."""
    books = books_in(tmp_path / "data")
    books.journal.write(settled(1, key="=evil()", cost=1_500_000_000))
    books.journal.write(settled(2, key="b", cost=None, upstream_model="dear"))
    books.turn()
    books.close()
    return tmp_path / "data"
