"""The elements that the rows of tables repeat: texts of strangers stay text, and times are UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from kit.pages import HOSTILE, elements, words

from flask_gateway.app.candidates import CandidateStatus
from flask_gateway.web.page.elements import (
    candidate_element,
    name_element,
    parameter,
    reason_element,
    state_element,
    time_element,
)

#: Elements of a text, with the tags that they have.
OF_A_TEXT: dict[str, Callable[[str], str]] = {
    "name": name_element,
    "state": state_element,
    "reason": lambda text: reason_element(CandidateStatus(1, "up", "model", text)),
    "candidate": lambda text: candidate_element(CandidateStatus(1, text, text, "chosen")),
}


@pytest.mark.parametrize("make", OF_A_TEXT.values(), ids=OF_A_TEXT)
def test_texts_of_strangers_are_texts(make: Callable[[str], str]) -> None:
    for text in HOSTILE:
        html = make(text)
        assert " ".join(text.split()) in words(html)
        assert {tag for tag, _ in elements(html)} <= {"bdi", "span"}
        assert {name for _, attributes in elements(html) for name in attributes} <= {"class", "title"}


def test_long_names_have_a_title_and_missing_ones_a_dash() -> None:
    assert name_element("fast") == "<bdi>fast</bdi>"
    assert name_element(None) == name_element("") == "<bdi>\u2013</bdi>"
    assert elements(name_element('"' * 25)) == [("span", {"class": "name", "title": '"' * 25})]


def test_a_time_is_utc_whatever_part_of_a_second() -> None:
    for at in (0.0, 0.999, 1795860000.25, time.time()):
        whole = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
        html = time_element(at)
        assert words(html) == whole[11:19]
        (found,) = elements(html)
        assert found == ("time", {"datetime": whole[:19].replace(" ", "T") + "Z", "title": whole})


def test_states_and_reasons_have_a_class_and_words() -> None:
    classes = {"closed": "ok", "open": "failed", "pausing": "warn", "new": "warn"}
    for word, kind in classes.items():
        assert elements(state_element(word))[0][1] == {"class": f"state {kind}"}
    assert words(state_element("closed")) == "● closed"
    assert words(reason_element(CandidateStatus(1, "up", "m", "open", 16.0))) == "open for 16 s"
    assert words(candidate_element(CandidateStatus(2, "up", "m", "next"))) == "2. up/m next"


def test_a_parameter_is_read_as_it_was() -> None:
    for text in HOSTILE:
        assert parse_qs(parameter(text, "model")) == {"model": [text]}
        assert not set(parameter(text, "model")) & set("<>&\"' \n")
