"""Notes of what happened: their bounds, and the lines of the log that become notes."""

from __future__ import annotations

import logging

from flask_gateway.telemetry import notes, page_rings
from flask_gateway.telemetry.page_rings import PageRings


def test_a_note_is_one_line_and_has_a_bound() -> None:
    rings = PageRings()
    rings.note("first\nsecond\r\x00" + "x" * 500, "warning")
    (note,) = rings.notes()
    assert note.text.startswith("first second")
    assert len(note.text) <= notes.LONGEST
    assert note.level == "warning"


def test_warnings_are_kept_and_other_lines_are_not() -> None:
    rings = page_rings.open_rings()
    assert rings is not None
    log = logging.getLogger("flask_gateway.somewhere")
    log.warning("flask-gateway: the store is away: %s", "why")
    log.info("chatter")
    logging.getLogger("gunicorn.error").warning("settings reloaded; changed: %s", "models.fast")
    assert [note.text for note in rings.notes()] == [
        "settings reloaded; changed: models.fast",
        "the store is away: why",
    ]


def test_notes_of_other_code_are_left_out_and_the_newest_comes_first() -> None:
    written: list[bytes] = []
    for at in (1.0, 2.0):
        notes.NoteWriter(written.append, lambda at=at: at)(f"at {at}")  # type: ignore[misc]
    old, new = written
    rings = [iter([b"\xc1", old]), iter([new, b""])]
    assert [(note.at, note.text) for note in notes.merged(rings)] == [(2.0, "at 2.0"), (1.0, "at 1.0")]
