"""Defines a call and what is known of it: caller, ids, attempts, usage, outcome.

Nothing here does I/O or knows HTTP. Only :meth:`Call.remaining` reads a clock.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

import msgspec

from .cache_request import UNSAID, CacheRequest
from .cancellation import Cancellation
from .direct import Direct
from .errors import GatewayError, Verdict
from .ids import Ids as Ids  # passed on
from .limits import CallLimits, Owners
from .plugin_notes import PluginNotes
from .spend import Spend
from .units import Units
from .upload import Upload


class Operation(StrEnum):
    """The operations that a caller can call; the value is the path below ``/v1/``."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"
    RESPONSE = "responses"
    MODERATION = "moderations"
    RERANK = "rerank"
    MESSAGE = "messages"
    COUNT = "messages/count_tokens"
    TRANSCRIPTION = "audio/transcriptions"
    AUDIO_TRANSLATION = "audio/translations"
    SPEECH = "audio/speech"
    IMAGE = "images/generations"
    IMAGE_EDIT = "images/edits"
    IMAGE_VARIATION = "images/variations"
    GENERATE = "generateContent"  # Google's own
    GENERATE_COUNT = "countTokens"
    EMBED_CONTENT = "embedContent"
    EMBED_CONTENTS = "batchEmbedContents"
    #: Sessions over WebSocket: of the Realtime API, and of the Responses API.
    REALTIME = "realtime"
    RESPONSE_SESSION = "responses/websocket"
    #: A request about a stored response, and one of a path that the operator opens: they have no model.
    STORED = "responses/{id}"
    RAW = "raw"

    #: Calls look up tables by their operation, and the hash of an enumeration is a function in Python.
    __hash__ = str.__hash__


#: The operations of Anthropic's API, of OpenAI's on sound and pictures, its sessions, and its others.
ANTHROPIC: tuple[Operation, ...] = (Operation.MESSAGE, Operation.COUNT)
HEARING: tuple[Operation, ...] = (Operation.TRANSCRIPTION, Operation.AUDIO_TRANSLATION)
PICTURES: tuple[Operation, ...] = (Operation.IMAGE, Operation.IMAGE_EDIT, Operation.IMAGE_VARIATION)
MEDIA: tuple[Operation, ...] = (*HEARING, Operation.SPEECH, *PICTURES)
SESSIONS: tuple[Operation, ...] = (Operation.REALTIME, Operation.RESPONSE_SESSION)
#: Those that go to one upstream as they are (:class:`~.direct.Direct`).
DIRECT: tuple[Operation, ...] = (Operation.STORED, Operation.RAW)
GEMINI = (Operation.GENERATE, Operation.GENERATE_COUNT, Operation.EMBED_CONTENT, Operation.EMBED_CONTENTS)
#: Operations that only count tokens, which costs nothing.
COUNTING: tuple[Operation, ...] = (Operation.COUNT, Operation.GENERATE_COUNT)
OPENAI: tuple[Operation, ...] = tuple(
    operation for operation in Operation if operation not in (*ANTHROPIC, *GEMINI, *MEDIA, *SESSIONS, *DIRECT)
)
#: The operations that name a model.
WITH_MODEL: tuple[Operation, ...] = tuple(operation for operation in Operation if operation not in DIRECT)
#: How many times larger than other bodies one of Anthropic's API may be: 32 MiB by default, as theirs.
MESSAGES_BODY = 2


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
    :param owners: the key's and its team's further limits; ``None``: there are none.
    :param team: the name of its team, empty if it has none.
    :param tags: for reports. :param request_tags: the names of further tags that its requests may bring.
    :param content: whether logs, traces and caches may keep what its calls and answers say.
    """

    id: str
    rate_limit: int
    models: frozenset[str] | None = None
    max_concurrent: int = 0
    owners: Owners | None = None
    team: str = ""
    tags: Mapping[str, str] = {}
    request_tags: frozenset[str] = frozenset()
    content: bool = True

    def may_call(self, model: str) -> bool:
        return self.models is None or model in self.models or fits_any(model, self.models)


#: The wildcards of a pattern, as ``re.escape`` writes them.
_WILDCARD = re.compile(r"\\[*?]")


def _expression(wildcard: re.Match[str]) -> str:
    return ".*" if wildcard[0] == r"\*" else "."


@lru_cache(maxsize=256)
def _patterns(models: frozenset[str]) -> re.Pattern[str] | None:
    """Compile the names with ``*`` or ``?`` into one expression; ``None`` when there are none."""
    patterns = [_WILDCARD.sub(_expression, re.escape(name)) for name in sorted(models) if _is_pattern(name)]
    return re.compile("|".join(patterns), re.DOTALL) if patterns else None


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def fits_any(model: str, models: frozenset[str]) -> bool:
    """Whether one of the names with ``*`` or ``?`` fits the model: any text, and any one character."""
    pattern = _patterns(models)
    return pattern is not None and pattern.fullmatch(model) is not None


class Attempt(msgspec.Struct, frozen=True):
    """One request to one upstream.

    :param result: the upstream's status, or the gateway's error code if the upstream returned none.
    :param seconds: until the answer was committed, or until the failure.
    :param model: the requested model, by the upstream's name for it.
    :param started_ns: when it began, nanoseconds since the epoch.
    """

    upstream: str
    result: str
    seconds: float
    model: str | None = None
    started_ns: int = 0

    @classmethod
    def failed(
        cls,
        upstream: str,
        error: GatewayError,
        seconds: float,
        model: str | None = None,
        started_ns: int = 0,
    ) -> Attempt:
        answered = getattr(error, "answered", None)
        result = str(answered) if answered else error.code or str(error.status)
        return cls(upstream, result, seconds, model, started_ns)

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


#: Stands for the value of a field that is too long to decode.
TOO_LONG = object()


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
    :param started_ns: when the request arrived, nanoseconds since the epoch; 0 if that is not known.
    :param pinned: the only upstream that may answer, as it stores what the call refers to; ``None``: any.
    :param spend: what the call holds and costs; ``None`` where no ledger is kept.
    :param user: the end user, empty if the call has none, or its key does not tell them apart.
    :param limits: of the subjects of the call; ``None``: it has no limits but those in ``caller``.
    :param headers: of the caller, to be sent to the upstream. Their names are in lower case.
    :param query: of the URL, to be sent to the upstream; empty if there is none.
    :param direct: a request that goes to one upstream as it is; ``None``: the call names a model.
    :param cache: what the request says about kept answers.
    :param upload: the form that the caller sent in place of JSON; ``None``: it sent JSON.
    :param plugins: those that see the call, and what they did; ``None``: none does.
    :param may_wait: the server can answer the request later from its beginning (``guards.inflight``).
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
    started_ns: int = 0
    spend: Spend | None = None
    user: str = ""
    limits: CallLimits | None = None
    headers: Mapping[str, str] = {}
    query: str = ""
    cache: CacheRequest = UNSAID
    upload: Upload | None = None
    direct: Direct | None = None
    plugins: PluginNotes | None = None
    may_wait: bool = False

    def remaining(self) -> float:
        """The time until the call is cancelled, seconds. A plugin waits no longer."""
        return max(0.0, self.deadline - time.monotonic())

    def with_fields(self, **fields: object) -> Call:
        """Return the call with other fields of the body. Those with the value ``None`` are left out.

        :raises TypeError: JSON has no such value.
        """
        kept = {name: value for name, value in self.fields.items() if name not in fields}
        new = {name: value for name, value in fields.items() if value is not None}
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in new.items()}
        return msgspec.structs.replace(self, fields={**kept, **raw})

    def epoch_ns(self, moment: float) -> int:
        """Convert a time of ``time.monotonic()``, seconds, to nanoseconds since the epoch.

        All times of a call follow from one reading of the wall clock, so they keep their order when somebody
        sets that clock.
        """
        return self.started_ns + int((moment - self.started) * 1e9)

    def asking(self, model: str, overrides: BodyOverrides | None = None) -> Call:
        """Return the call with the upstream's name for the model, and with the fields of the settings."""
        if overrides is not None:
            return msgspec.structs.replace(self, model=model, fields=overrides.applied_to(self.fields))
        return self if model == self.model else msgspec.structs.replace(self, model=model)

    @property
    def asked_model(self) -> str:
        """The caller's own name for the model; the upstream's if the body has none."""
        raw = self.fields.get("model")
        return self.model if raw is None else msgspec.json.decode(raw, type=str)

    def decoded(self, name: str, longest: int) -> Any:
        """Decode a field of the body; ``None`` if it is missing or no JSON.

        :param longest: a longer value, bytes, is not decoded: the result is :data:`TOO_LONG`.
        """
        raw = self.fields.get(name)
        if raw is None:
            return None
        if len(memoryview(raw)) > longest:
            return TOO_LONG
        try:
            return msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            return None

    @property
    def in_background(self) -> bool:
        """Whether the caller wants to fetch the response later instead of waiting for it."""
        return bytes(self.fields.get("background", b"")).strip() not in (b"", b"false", b"null")

    def payload(self) -> bytes:
        """Encode the body for the upstream. It contains only the one ``model`` that the gateway checked."""
        return msgspec.json.encode({**self.fields, "model": self.model})


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer: as the upstream reported them, or as the gateway estimated them.

    :param parts: the other counts that cost money, by their names in :class:`~.units.Units`.
    :param service: the service tier that the answer reports, such as ``flex``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    source: Literal["reported", "estimated"] = "reported"
    parts: Mapping[str, int] = {}
    service: str = ""

    @property
    def units(self) -> Units:
        """The billed units."""
        return Units(
            input=self.prompt_tokens, output=self.completion_tokens, cached=self.cached_tokens, **self.parts
        )


class AnswerPart(msgspec.Struct, frozen=True):
    """One upstream's part of an answer.

    :param model: the upstream's name for the model.
    :param started_ns: when the upstream was asked, nanoseconds since the epoch.
    """

    upstream: str
    model: str | None
    usage: Usage | None
    started_ns: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How an admitted call ended. Exactly one per permit and per reply.

    :param first_token_seconds: seconds until the first token; ``None`` if none came or nobody measured it.
    :param usage: its ``source`` says whether the upstream reported it or the gateway estimated it.
    :param dropped: events of the stream that could not be parsed and were left out.
    :param upstream: answered the call, or failed last; of a resumed stream the one that began it. ``None`` if
        none was asked.
    :param model: the upstream's name for the model; ``None`` if no upstream answered.
    :param started_ns: when the attempt began that answered, nanoseconds since the epoch; 0 if none did.
    :param parts: of a resumed stream: what each upstream answered. Otherwise empty.
    """

    verdict: Verdict
    usage: Usage | None = None
    error: GatewayError | None = None
    first_token_seconds: float | None = None
    dropped: int = 0
    upstream: str | None = None
    model: str | None = None
    started_ns: int = 0
    parts: tuple[AnswerPart, ...] = ()

    @classmethod
    def of_error(cls, error: BaseException) -> Outcome:
        """The outcome of a call without an answer. An exception of ours says nothing about the upstream."""
        if not isinstance(error, GatewayError):
            return cls(Verdict.IGNORED)
        return cls(error.verdict, error=error, upstream=error.upstream)
