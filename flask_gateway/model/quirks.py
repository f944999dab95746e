"""Defines quirks: facts about an upstream that a request in the words of another API depends on."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Unsupported(StrEnum):
    """Says what happens to a field of a request that the upstream's API has no place for."""

    #: The call is refused: 400 ``unsupported_field``.
    REFUSE = "refuse"
    #: The field is left out, and ``x-gateway-left-out`` names it.
    DROP = "drop"


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about an upstream that a translated request depends on.

    :param unsupported: what happens to fields that cannot be carried.
    """

    unsupported: Unsupported = Unsupported.REFUSE


class TranslationTarget(msgspec.Struct, frozen=True):
    """The upstream that a request is translated for.

    :param upstream: its name in the settings.
    """

    upstream: str
    quirks: Quirks = Quirks()
