"""Defines a call and what is known of it: caller, ids, attempts, usage, outcome.

Nothing here does I/O, reads a clock or knows HTTP.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Literal

import msgspec

from .cancellation import Cancellation
from .errors import GatewayError, Verdict


class Operation(StrEnum):
    """What a caller may ask of a model; the value is the path below ``/v1/``."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"
    RESPONSE = "responses"
    MODERATION = "moderations"
    RERANK = "rerank"


class Continues(StrEnum):
    """How an upstream is told to go on with an answer that others have begun (``streaming/resume.py``)."""

    #: ``continue_final_message`` and no ``add_generation_prompt``: vLLM, SGLang.
    VLLM = "vllm"
    #: ``prefix`` in the last message: DeepSeek (its ``/beta``), Mistral.
    PREFIX = "prefix"
    #: Nothing: it goes on by itself when the last message is the assistant's.
    PLAIN = "plain"


class Caller(msgspec.Struct, frozen=True):
    """Who is asking: the owner of an API key, known by an id that is not the key.

    :param id: safe to log and to show; derived from the key's digest, or its configured name.
    :param rate_limit: requests admitted in any 60 s; 0 means without limit.
    :param models: the models it may name, ``*`` standing for any text; ``None`` means every model.
    :param max_concurrent: calls under way at once; 0 means without limit.
    """

    id: str
    rate_limit: int
    models: frozenset[str] | None = None
    max_concurrent: int = 0

    def may_call(self, model: str) -> bool:
        return self.models is None or model in self.models or _fits_any(model, self.models)


@lru_cache(maxsize=256)
def _patterns(models: frozenset[str]) -> re.Pattern[str] | None:
    """Those of the names that have a ``*``, as one expression; ``None`` when there are none."""
    found = [".*".join(map(re.escape, name.split("*"))) for name in sorted(models) if "*" in name]
    return re.compile("|".join(found), re.DOTALL) if found else None


def _fits_any(model: str, models: frozenset[str]) -> bool:
    pattern = _patterns(models)
    return pattern is not None and pattern.fullmatch(model) is not None


class Ids(msgspec.Struct, frozen=True):
    """The names of one request: ours, the caller's trace, and the W3C trace context sent upstream."""

    request: str
    trace: str
    traceparent: str
    tracestate: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """One request to one upstream.

    :param model: what it was asked for, by the name that it knows.
    """

    upstream: str
    result: str
    seconds: float
    model: str | None = None

    @classmethod
    def failed(cls, upstream: str, error: GatewayError, seconds: float, model: str | None = None) -> Attempt:
        answered = getattr(error, "answered", None)
        result = str(answered) if answered else error.code or str(error.status)
        return cls(upstream, result, seconds, model)

    def __str__(self) -> str:
        return f"{self.upstream}:{self.result}:{self.seconds:.2f}s"


class Call(msgspec.Struct, frozen=True):
    """One admitted-for-consideration request to a model.

    :param fallbacks: the caller's own chain of models; ``None`` leaves it to the route, ``()`` forbids any.
    :param fields: the body's top level, each value still as the caller wrote it, so that whatever
        we do not know passes through untouched.
    :param started: ``time.monotonic()`` at the door, seconds.
    :param whole: a stream that is to be held back until it is complete (``streaming/buffered.py``).
    :param deadline: ``time.monotonic()`` after which nobody waits for the answer any more, seconds.
    :param cancellation: how it is called off before that.
    :param attempts: who has been asked so far; what answers the call adds to it.
    :param pinned: the only upstream that may be asked, for it keeps what the call refers to; ``None``: any.
    """

    ids: Ids
    caller: Caller
    operation: Operation
    model: str
    fields: Mapping[str, msgspec.Raw]
    stream: bool
    started: float
    fallbacks: tuple[str, ...] | None = None
    deadline: float = math.inf
    cancellation: Cancellation = msgspec.field(default_factory=Cancellation)
    whole: bool = False
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    pinned: str | None = None

    def asking(self, model: str) -> Call:
        """The same call under the name the upstream knows the model by."""
        return self if model == self.model else msgspec.structs.replace(self, model=model)

    def payload(self) -> bytes:
        """The body for the upstream. Written anew, so that it reads the one ``model`` we checked."""
        return msgspec.json.encode({**self.fields, "model": self.model})


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer: as the upstream reported them, or else counted by us, roughly."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    source: Literal["reported", "estimated"] = "reported"


class Outcome(msgspec.Struct, frozen=True):
    """How what was admitted ended. Exactly one per permit and per reply.

    :param first_token_seconds: seconds until the first token; ``None`` if none came or nobody measured it.
    :param dropped: events of it that could not be read, and were left out.
    """

    verdict: Verdict
    usage: Usage | None = None
    error: GatewayError | None = None
    first_token_seconds: float | None = None
    dropped: int = 0
