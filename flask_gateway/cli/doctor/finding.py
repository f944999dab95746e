"""Defines the result of one check."""

from __future__ import annotations

from enum import Enum

import msgspec

from ...config.errors import one_line


class Level(Enum):
    OK = "ok"
    #: It works, but not well, or could not be checked.
    WARN = "warn"
    FAIL = "fail"


class Diagnosis(msgspec.Struct, frozen=True):
    """One line of the report.

    :param what: the thing and its state. :param remedy: what to do; empty when nothing is wrong.
    """

    level: Level
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"  -> {self.remedy}" if self.remedy else ""
        return one_line(f"{self.level.value:<4}  {self.what}{remedy}")


def ok(what: str) -> Diagnosis:
    return Diagnosis(Level.OK, what)


def warn(what: str, remedy: str) -> Diagnosis:
    return Diagnosis(Level.WARN, what, remedy)


def fail(what: str, remedy: str) -> Diagnosis:
    return Diagnosis(Level.FAIL, what, remedy)
