"""The table of translations: for each operation that callers ask, those it can be sent as."""

from __future__ import annotations

from collections.abc import Collection

from ...model.call import Operation
from .chat_to_messages import CHAT_TO_MESSAGES
from .messages_to_chat import MESSAGES_TO_CHAT
from .responses_to_chat.translation import RESPONSES_TO_CHAT
from .translation import Translation

#: A further translation is one more entry here. The first that an upstream takes is used.
TRANSLATIONS: tuple[Translation, ...] = (MESSAGES_TO_CHAT, CHAT_TO_MESSAGES, RESPONSES_TO_CHAT)


def translations_to(
    speaks: Collection[Operation], table: tuple[Translation, ...] = TRANSLATIONS
) -> dict[Operation, Translation]:
    """Return what can be translated for an upstream, by the operation that callers ask.

    :param speaks: the operations that the upstream takes. They need no translation.
    """
    found: dict[Operation, Translation] = {}
    for translation in table:
        if translation.spoken in speaks and translation.asked not in speaks:
            found.setdefault(translation.asked, translation)
    return found


def counts_by_estimate(speaks: Collection[Operation]) -> bool:
    """Whether the gateway estimates the tokens of Messages calls, because the upstream counts none."""
    answers = Operation.MESSAGE in speaks or Operation.MESSAGE in translations_to(speaks)
    return answers and Operation.COUNT not in speaks
