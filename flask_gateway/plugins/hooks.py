"""Names the hooks of plugins, and the operations that each can see."""

from __future__ import annotations

from enum import StrEnum

from ..model.call import COUNTING, DIRECT, HEARING, SESSIONS, Operation
from ..plugin import TEXT


class Hook(StrEnum):
    """A kind of question that the gateway asks plugins; the value is a label of metrics."""

    IDENTIFY = "identify"
    ADMIT = "admit"
    REWRITE = "rewrite"
    INSPECT = "inspect"
    OBSERVE = "observe"


#: The method of each hook.
METHODS = {
    Hook.IDENTIFY: "identify",
    Hook.ADMIT: "admit",
    Hook.REWRITE: "rewrite",
    Hook.INSPECT: "open",
    Hook.OBSERVE: "__call__",
}
_ALL = frozenset(Operation)
#: Those whose body is JSON. A session has no body, and that of a raw path is not read.
REWRITABLE = _ALL - {*SESSIONS, *DIRECT, *HEARING, Operation.IMAGE_EDIT, Operation.IMAGE_VARIATION}
#: Those whose answers are read, and those whose answers have no text of a model.
INSPECTABLE = TEXT | {
    *COUNTING,
    Operation.EMBEDDING,
    Operation.MODERATION,
    Operation.RERANK,
    Operation.GENERATE,
}
