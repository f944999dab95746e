"""Defines the error for an invalid setting: one line with its name, its value and the expected value.

One run reports every mistake: :class:`Mistakes` collects the errors and raises them together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
#: Longer values are cut to keep the line readable. The line names the setting anyway.
_SHOWN_CHARACTERS = 120


class ConfigError(Exception):
    """A setting is invalid. ``str()`` is one line for the operator.

    :param setting: the environment variable, or the dotted path in the file.
    :param value: the refused value, with secrets already masked; ``None`` when there is none.
    :param expected: the values that would be valid, to follow the word "expected".
    :param hint: a further half sentence, such as the most similar valid name.
    """

    def __init__(self, setting: str, value: object, expected: str, hint: str | None = None) -> None:
        super().__init__(setting, value, expected, hint)
        self.setting = setting
        self.value = value
        self.expected = expected
        self.hint = hint
        #: The other mistakes of the same run. Their own ``others`` are empty.
        self.others: tuple[ConfigError, ...] = ()

    def __str__(self) -> str:
        more = f" (and {len(self.others)} more: `flask-gateway check` lists them)" if self.others else ""
        return self._line() + more

    def lines(self) -> list[str]:
        """Every mistake of the run, one line each."""
        return [error._line() for error in (self, *self.others)]

    def _line(self) -> str:
        given = "" if self.value is None else f"={_cut(repr(self.value))}"
        hint = "" if self.hint is None else f"; {self.hint}"
        return one_line(f"{_cut(self.setting)}{given}: expected {self.expected}{hint}")


class Mistakes:
    """Collects the errors of one run. Each block ``with mistakes:`` may raise one."""

    def __init__(self) -> None:
        #: Keyed by the printed line, so a setting that is read twice is reported once.
        self._errors: dict[str, ConfigError] = {}

    @property
    def any(self) -> bool:
        return bool(self._errors)

    def add(self, error: ConfigError) -> None:
        for mistake in (error, *error.others):
            self._errors.setdefault(mistake._line(), mistake)
        error.others = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        """Store the :class:`ConfigError` that the block raised, and continue after the block."""
        if not isinstance(error, ConfigError):
            return False
        self.add(error)
        return True

    def raise_found(self) -> None:
        """Raise the first error with the others attached, if there is any."""
        if self._errors:
            first, *others = self._errors.values()
            first.others = tuple(others)
            raise first


class InvalidValue(ValueError):
    """A value does not fit its type. The code that raises it does not know the setting's name.

    :param shown: the part of the value that may be printed, if the type's ``show`` cannot decide.
    """

    def __init__(self, expected: str, hint: str | None = None, shown: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.shown = shown


def nearest(name: str, names: Iterable[str]) -> str | None:
    """``did you mean …?`` with the most similar of ``names``, or ``None`` when none is similar."""
    by_lower = {known.lower(): known for known in sorted(names)}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean {by_lower[matches[0]]}?" if matches else None


def dotted(*parts: str) -> str:
    """A path in the file in TOML syntax: parts that are not bare keys are quoted."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in parts)


def one_line(text: str) -> str:
    """The text with unprintable characters escaped, line ends included."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
