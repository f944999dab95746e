"""Tests for flask_gateway.streaming.chunked."""

from __future__ import annotations

import pytest

from flask_gateway.streaming.chunked import chunk


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 1023, 1024, 1025, 65536])
def test_a_chunk_is_its_size_in_hexadecimal_and_its_data(size: int) -> None:
    assert chunk(b"x" * size) == b"%X\r\n%b\r\n" % (size, b"x" * size)


def test_no_data_is_the_last_chunk() -> None:
    assert chunk(b"") == b"0\r\n\r\n"
