"""Tests that answers are read as they were written, in every API."""

from __future__ import annotations

import pytest

from flask_gateway.model.call import Operation
from flask_gateway.testing import OPERATIONS, byte_by_byte, inspect

PIECES = [("content", ["Hel", "lo"]), ("reasoning", ["so"]), ("arguments", ['{"a":', "1}"])]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_plugins_every_text_is_read_back(operation: Operation) -> None:
    pieces = PIECES[:1] if operation is Operation.COMPLETION else PIECES
    wanted = {(index, kind): "".join(parts) for index, (kind, parts) in enumerate(pieces)}
    assert inspect((), operation, pieces) == wanted
    assert inspect((), operation, pieces, cut=byte_by_byte) == wanted
    assert inspect((), operation, pieces, stream=False) == wanted
