"""Collects what became of each setting: mapped, changed in meaning, or left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from ...config.errors import one_line
from ...config.schema import MASK
from .yaml_tree import Line

#: A key of a usual form, or a URL's password, should one stand where a name is expected.
_SECRET = re.compile(
    r"\b(sk-|gsk_|xai-|hf_|AIza|AKIA|ghp_|nvapi-|eyJ)[^\s.:/@]{8,}|(?<=//)(?!:\$|:PASSWORD)[^/\s]*(?=@)"
)


class Disposition(StrEnum):
    """The outcome for a setting."""

    MAPPED = "mapped"
    CHANGED = "changed in meaning"
    LEFT_OUT = "left out"


class ImportFinding(msgspec.Struct, frozen=True):
    """The outcome for one setting.

    :param line: its line in the file, from 1. :param setting: its path there, such as ``model_list[2]``.
    :param text: what it became, or why not, in one sentence. It holds no value that may be a secret.
    """

    line: int
    setting: str
    verdict: Disposition
    text: str


class Report:
    """The findings of one import."""

    def __init__(self) -> None:
        self._found: dict[ImportFinding, None] = {}

    def mapped(self, line: int, setting: str, text: str) -> None:
        self._add(line, setting, Disposition.MAPPED, text)

    def changed(self, line: int, setting: str, text: str) -> None:
        self._add(line, setting, Disposition.CHANGED, text)

    def left_out(self, line: int, setting: str, text: str) -> None:
        self._add(line, setting, Disposition.LEFT_OUT, text)

    def _add(self, line: int, setting: str, verdict: Disposition, text: str) -> None:
        setting, text = (_SECRET.sub(MASK, one_line(shown)) for shown in (setting[:200], text))
        self._found[ImportFinding(line, setting, verdict, text)] = None

    def of(self, verdict: Disposition) -> list[ImportFinding]:
        """The findings of one list, by line; those of included files after the others."""
        return sorted((one for one in self._found if one.verdict is verdict), key=_place)

    @property
    def is_complete(self) -> bool:
        """Whether everything was mapped."""
        return all(finding.verdict is Disposition.MAPPED for finding in self._found)


def _place(one: ImportFinding) -> tuple[str, int]:
    return (one.line.file if isinstance(one.line, Line) else "", int(one.line))


_TITLES = {
    Disposition.MAPPED: "Mapped",
    Disposition.CHANGED: "Changed in meaning",
    Disposition.LEFT_OUT: "Left out",
}


def lines_of(report: Report, source: str, more: Iterable[str]) -> Iterator[str]:
    """The report for a terminal: three lists with the lines of ``source``, then notes.

    :param more: notes about the whole import.
    """
    for verdict, title in _TITLES.items():
        findings = report.of(verdict)
        yield f"{title} ({len(findings)})"
        for one in findings:
            place = one.line if isinstance(one.line, Line) else f"{source}:{one.line}"
            yield f"  {place}: {one.setting}: {one.text}"
        yield ""
    yield "Notes"
    yield from (f"  {one_line(note)}" for note in more)
