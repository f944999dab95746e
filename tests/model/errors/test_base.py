"""Tests the codes of errors: docs/errors.md explains each, and no code that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import flask_gateway.server.client_connection
import flask_gateway.web.app  # noqa: F401  (its modules define codes, too)
from flask_gateway.model.errors import StateNotHere, known_codes

DOCUMENT = Path(__file__).parents[3] / "docs" / "errors.md"
#: A code that ``StateNotHere`` takes for one field, instead of that of its class.
OF_ONE_FIELD = StateNotHere("", "previous_response_id").code


def test_every_code_has_a_row_and_every_row_a_code() -> None:
    rows = set(re.findall(r"^\| `([a-z_]+)`", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == known_codes() | {OF_ONE_FIELD}


def test_every_row_of_a_code_has_a_status_a_meaning_and_a_remedy() -> None:
    for row in re.findall(r"^\| `[a-z_]+`.*$", DOCUMENT.read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert re.match(r"[45]\d\d", cells[1]), row
        assert all(cells), row
