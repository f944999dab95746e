"""Reads the parameters of an admin's URL."""

from __future__ import annotations

from flask import request

from ...model.errors import InvalidField


def arguments_of(*names: str) -> dict[str, str | None]:
    """The parameters of the URL by name. Others are refused: a filter that is misspelled would list all."""
    for name in request.args:
        if name not in names:
            raise InvalidField(
                f"The parameter '{name[:200]}' is not known here; known are {', '.join(names) or 'none'}.",
                param=name[:200],
            )
    return {name: request.args.get(name) or None for name in names}
