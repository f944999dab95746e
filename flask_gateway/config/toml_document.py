"""Parses the settings file as TOML, and says what is wrong with a file that is none."""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path

from .errors import ConfigError
from .file_access import MOST_SETTINGS, read_regular
from .options import CONFIG


def parse(path: str) -> dict[str, object]:
    """Return the document.

    :raises ConfigError: the file cannot be read, or is no TOML.
    """
    try:
        content = read_regular(Path(path), MOST_SETTINGS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(CONFIG.variable, path, "the path of a TOML file that can be read", reason) from None
    try:
        # Windows writes a byte order mark at the start of a file in UTF-8. It means nothing there.
        text = content.removeprefix(codecs.BOM_UTF8).decode()
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        hint = f"see byte {error.start}"
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            hint = "its byte order mark says UTF-16: save it as UTF-8"
        raise ConfigError(CONFIG.variable, path, "a file in UTF-8", hint) from None
    except tomllib.TOMLDecodeError as error:
        # The parser's message gives line and column, and repeats no value.
        hint = "this is YAML: write it as TOML" if _is_yaml(text) else f"{error}{_odd_character(text, error)}"
        raise ConfigError(CONFIG.variable, path, "a TOML file", hint) from None
    except (ValueError, RecursionError):
        # A number with thousands of digits, or thousands of nested arrays.
        raise ConfigError(CONFIG.variable, path, "a TOML file with shorter values") from None


#: Characters that editors put in the place of plain quotes, plain blanks, or nothing at all.
_ODD = re.compile("[\0\u00a0\u00ab\u00bb\u2000-\u200d\u2018-\u201f\u202f\u2060\ufeff]")
_PLACE = re.compile(r"at line (\d+), column (\d+)")


def _odd_character(text: str, error: Exception) -> str:
    """Name the character that the parser stopped at, when an editor may have put it there."""
    place = _PLACE.search(str(error))
    lines = text.replace("\r\n", "\n").split("\n")
    found = lines[int(place[1]) - 1][int(place[2]) - 1 :][:1] if place else ""
    if not _ODD.fullmatch(found):
        return ""
    return f"; U+{ord(found):04X} is there: save the file as UTF-8, with plain quotes and blanks"


#: The first line of a YAML document with content: a list item, or ``name:`` with or without a value.
_YAML = re.compile(r"\s*(- |---|[A-Za-z_][\w-]*:(\s|$))")


def _is_yaml(text: str) -> bool:
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return _YAML.match(next(lines, "")) is not None
