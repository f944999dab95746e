"""How a setting is refused: in one line that names it, shows it, and says what was expected.

One run names every mistake: :class:`Mistakes` collects refusals and raises them together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
#: Longer values are cut: the line is for reading, and the setting is named anyway.
_SHOWN_CHARACTERS = 120


class ConfigError(Exception):
    """The settings cannot be used. ``str()`` is one line for the operator.

    :param setting: the environment variable, or the dotted path in the file.
    :param value: what it was set to, with secrets already masked; ``None`` when there is none.
    :param expected: what would have been right, to follow the word "expected".
    :param hint: a further half sentence, such as the nearest right name.
    """

    def __init__(self, setting: str, value: object, expected: str, hint: str | None = None) -> None:
        super().__init__(setting, value, expected, hint)
        self.setting = setting
        self.value = value
        self.expected = expected
        self.hint = hint
        #: The other mistakes of the same run, each with none of its own here.
        self.others: tuple[ConfigError, ...] = ()

    def __str__(self) -> str:
        more = f" (and {len(self.others)} more: `flask_gateway check` lists them)" if self.others else ""
        return self._line() + more

    def lines(self) -> list[str]:
        """Every mistake of the run, a line each."""
        return [error._line() for error in (self, *self.others)]

    def _line(self) -> str:
        given = "" if self.value is None else f"={_cut(repr(self.value))}"
        hint = "" if self.hint is None else f"; {self.hint}"
        return one_line(f"{_cut(self.setting)}{given}: expected {self.expected}{hint}")


class Mistakes:
    """Collects the refusals of one run: each block ``with mistakes:`` may raise one."""

    def __init__(self) -> None:
        #: By their lines, so that a setting that is read twice is refused once.
        self._found: dict[str, ConfigError] = {}

    @property
    def found(self) -> bool:
        return bool(self._found)

    def add(self, error: ConfigError) -> None:
        for one in (error, *error.others):
            self._found.setdefault(one._line(), one)
        error.others = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        """Keep the refusal that the block raises, and go on behind the block."""
        if not isinstance(error, ConfigError):
            return False
        self.add(error)
        return True

    def raise_found(self) -> None:
        """Raise the first refusal with the others in it, if there was any."""
        if self._found:
            first, *others = self._found.values()
            first.others = tuple(others)
            raise first


class InvalidValue(ValueError):
    """A value is not of its kind; raised before it is known which setting holds it.

    :param shown: what of the value may be printed, when the kind cannot tell by the value alone.
    """

    def __init__(self, expected: str, hint: str | None = None, shown: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.shown = shown


def nearest(name: str, names: Iterable[str]) -> str | None:
    """``did you mean …?`` with the most alike of ``names``, or ``None`` when none is alike."""
    by_lower = {known.lower(): known for known in sorted(names)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean {by_lower[found[0]]}?" if found else None


def dotted(*parts: str) -> str:
    """A path in the file, as TOML writes it: parts that are no bare key are quoted."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in parts)


def one_line(text: str) -> str:
    """The text with everything escaped that is not printable, line ends included."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
