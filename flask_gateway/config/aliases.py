"""Extends the models that a caller may call by the aliases of those models."""

from __future__ import annotations

from collections.abc import Iterable

from ..model.call import fits_any
from .schema import ModelSettings


def with_aliases(allowed: frozenset[str] | None, models: Iterable[ModelSettings]) -> frozenset[str] | None:
    """The models that a caller may call, with the aliases of those that it names.

    :param allowed: names, ``*`` matching any text; ``None``: every model.
    """
    if allowed is None:
        return None
    may = (model for model in models if model.name in allowed or fits_any(model.name, allowed))
    return allowed.union(*(model.aliases for model in may))
