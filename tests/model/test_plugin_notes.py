"""Tests the notes on what plugins did with a call."""

from __future__ import annotations

from flask_gateway.model.plugin_notes import MOST, PluginNotes


def test_the_last_note_of_each_plugin_counts() -> None:
    notes = PluginNotes(())
    assert str(notes) == ""
    notes.note("pii", "opened")
    notes.note("quiet", "admitted")
    notes.note("pii", "masked(2)")
    assert notes.noted("pii") == "masked(2)"
    assert notes.noted("other") == ""
    assert str(notes) == "pii=masked(2), quiet=admitted"


def test_a_note_is_short() -> None:
    notes = PluginNotes(())
    notes.note("pii", "x" * 1000)
    assert notes.noted("pii") == "x" * MOST
