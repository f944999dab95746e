"""Reads the parameters of an admin's URL."""

from __future__ import annotations

import re

from flask import request

from ...model.errors import InvalidField

_WHOLE = re.compile(r"[0-9]{1,15}", re.ASCII)


def arguments_of(*names: str) -> dict[str, str | None]:
    """The parameters of the URL by name. Others are refused: a filter that is misspelled would list all."""
    for name in request.args:
        if name not in names:
            raise InvalidField(
                f"The parameter '{name[:200]}' is not known here; known are {', '.join(names) or 'none'}.",
                param=name[:200],
            )
    return {name: request.args.get(name) or None for name in names}


def whole_number(name: str, text: str | None, usual: int, most: int) -> int:
    """Read a number from 1 to ``most``; ``usual`` if it is not given."""
    if text is None:
        return usual
    if not _WHOLE.fullmatch(text) or not 0 < int(text) <= most:
        raise InvalidField(f"{name}: expected a whole number from 1 to {most}", param=name)
    return int(text)
