"""Runs the fuzz targets (``tests/fuzz/targets.py``) on the kept corpus and on random bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples

CORPUS = Path(__file__).parents[1] / "fuzz/corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_does_not_fail(target: str):
    kept = sorted((CORPUS / target).iterdir())
    assert len(kept) >= 5
    for file in kept:
        TARGETS[target](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=examples(120, 300), deadline=None)
@given(data=st.binary(max_size=300))
def test_random_bytes_do_not_fail(target: str, data: bytes):
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=examples(120, 300), deadline=None)
@given(data=st.data())
def test_joined_pieces_of_the_corpus_do_not_fail(target: str, data: st.DataObject):
    """Two files of the corpus, each cut at an arbitrary position and joined."""
    kept = [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]
    first, second = data.draw(st.sampled_from(kept)), data.draw(st.sampled_from(kept))
    TARGETS[target](
        first[: data.draw(st.integers(0, len(first)))] + second[data.draw(st.integers(0, len(second))) :]
    )
