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
    """The operations that a caller can call; the value is the path below ``/v1/``."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"
    RESPONSE = "responses"
    MODERATION = "moderations"
    RERANK = "rerank"


class Continues(StrEnum):
    """How a request tells an upstream to continue a partial answer (``streaming/resume.py``)."""

    #: ``continue_final_message`` and no ``add_generation_prompt``: vLLM, SGLang.
    VLLM = "vllm"
    #: ``prefix`` in the last message: DeepSeek (its ``/beta``), Mistral.
    PREFIX = "prefix"
    #: No field: the upstream continues when the last message has the role ``assistant``.
    PLAIN = "plain"


class Caller(msgspec.Struct, frozen=True):
    """The owner of an API key, identified by an id that is not the key.

    :param id: safe to log and to show; derived from the key's digest, or its configured name.
    :param rate_limit: requests admitted in any 60 s; 0 means no limit.
    :param models: the models that it may call, with ``*`` for any text; ``None`` means every model.
    :param max_concurrent: calls in flight at once; 0 means no limit.
    """

    id: str
    rate_limit: int
    models: frozenset[str] | None = None
    max_concurrent: int = 0

    def may_call(self, model: str) -> bool:
        return self.models is None or model in self.models or _fits_any(model, self.models)


@lru_cache(maxsize=256)
def _patterns(models: frozenset[str]) -> re.Pattern[str] | None:
    """Compile the names that contain ``*`` into one expression; ``None`` when there are none."""
    patterns = [".*".join(map(re.escape, name.split("*"))) for name in sorted(models) if "*" in name]
    return re.compile("|".join(patterns), re.DOTALL) if patterns else None


def _fits_any(model: str, models: frozenset[str]) -> bool:
    pattern = _patterns(models)
    return pattern is not None and pattern.fullmatch(model) is not None


class Ids(msgspec.Struct, frozen=True):
    """The ids of one request: the gateway's, the caller's trace, and the W3C trace context sent upstream."""

    request: str
    trace: str
    traceparent: str
    tracestate: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """One request to one upstream.

    :param result: the upstream's status, or the gateway's error code if the upstream returned none.
    :param model: the requested model, by the upstream's name for it.
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


#: Three names of one limit. The first is deprecated in the OpenAI API, the last is that of ``responses``.
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class BodyOverrides(msgspec.Struct, frozen=True):
    """Fields that the settings write into the body for one candidate.

    :param set: they replace the caller's. :param default: for callers who do not send them.
    """

    set: Mapping[str, msgspec.Raw]
    default: Mapping[str, msgspec.Raw]

    def applied_to(self, fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """The fields to send. A limit of the answer's length takes the place of its other names."""
        default, kept = self.default, fields
        if not self.set.keys().isdisjoint(_LENGTHS):
            kept = {name: value for name, value in fields.items() if name not in _LENGTHS}
        elif not fields.keys().isdisjoint(_LENGTHS):
            default = {name: value for name, value in default.items() if name not in _LENGTHS}
        return {**default, **kept, **self.set}


class Call(msgspec.Struct, frozen=True):
    """One parsed request to a model, before any guard has admitted it.

    :param fallbacks: the caller's own list of fallback models; ``None``: the route's; ``()``: no fallback.
    :param fields: the body's top level. Each value keeps the caller's bytes, so unknown fields pass through
        unchanged.
    :param started: ``time.monotonic()`` when the request arrived, seconds.
    :param whole: the stream is buffered until it is complete (``streaming/buffered.py``).
    :param deadline: ``time.monotonic()`` at which the call times out, seconds.
    :param cancellation: cancels the call before that.
    :param attempts: the attempts so far; the service that answers the call appends to it.
    :param pinned: the only upstream that may answer, as it stores what the call refers to; ``None``: any.
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

    def asking(self, model: str, overrides: BodyOverrides | None = None) -> Call:
        """Return the call with the upstream's name for the model, and with the fields of the settings."""
        if overrides is not None:
            return msgspec.structs.replace(self, model=model, fields=overrides.applied_to(self.fields))
        return self if model == self.model else msgspec.structs.replace(self, model=model)

    def payload(self) -> bytes:
        """Encode the body for the upstream. It contains only the one ``model`` that the gateway checked."""
        return msgspec.json.encode({**self.fields, "model": self.model})


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer: as the upstream reported them, or as the gateway estimated them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    source: Literal["reported", "estimated"] = "reported"


class Outcome(msgspec.Struct, frozen=True):
    """How an admitted call ended. Exactly one per permit and per reply.

    :param first_token_seconds: seconds until the first token; ``None`` if none came or nobody measured it.
    :param dropped: events of the stream that could not be parsed and were left out.
    """

    verdict: Verdict
    usage: Usage | None = None
    error: GatewayError | None = None
    first_token_seconds: float | None = None
    dropped: int = 0
