"""Estimates the tokens of a call before it is sent.

Prompt: four bytes a token, undecoded. Answer: what the caller allows, but not more than this key's answers by
this model have been lately. A coding agent allows 32 000 tokens and uses 500: reserving what it allows would
block its limits for nothing.
"""

from __future__ import annotations

import re
import threading

from ..dialects.media_usage import expected_usage
from ..dialects.usage import Tally
from ..model.call import COUNTING, DIRECT, MEDIA, Call, Operation, Usage
from ..model.large_json import split_at_quotes
from ..model.limits import CallLimits, Estimate

#: The bytes of a prompt that make one token: as expected, and as few as they may be.
BYTES_PER_TOKEN = 4
FEWEST_BYTES = 2
#: The tokens of a picture, a sound or a file.
PART_TOKENS = 1000
#: The expected length of an answer before the first one, tokens.
FIRST_GUESS = 1024
#: The ceiling of an answer for which the caller sets no limit, tokens.
MOST_OUTPUT = 16_384
#: Pairs of key and model whose answers are remembered.
REMEMBERED = 4096
#: The most answers that a call is taken to ask for.
_MOST_ANSWERS = 128

_PROMPTS = frozenset(
    {"messages", "prompt", "input", "instructions", "system", "tools", "query", "documents"}
    | {"contents", "content", "requests"}
)
_ALLOWED = frozenset(("max_tokens", "max_completion_tokens", "max_output_tokens"))
_ANSWERS = frozenset(("n", "best_of"))
#: The operations whose answers are no text.
_WITHOUT_OUTPUT = frozenset(
    {Operation.EMBEDDING, Operation.MODERATION, Operation.RERANK, *COUNTING, *MEDIA, *DIRECT}
    | {Operation.EMBED_CONTENT, Operation.EMBED_CONTENTS}
)
_MEDIA = frozenset(MEDIA)
#: Quotes at which a prompt is split before it is searched as a whole.
_FEW = 64
#: Finds the parts of a prompt that are no text. It takes long: searching for each text alone is quicker.
_parts = re.compile(rb';base64,|"input_audio"|"file_data"').findall


class Estimates:
    """The estimates of one process. Threads share them: ``_lock`` guards the guesses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By key and model: the expected tokens of an answer. The least recently changed come first.
        self._guesses: dict[tuple[str, str], int] = {}

    def of(self, call: Call, limits: CallLimits) -> Estimate:
        """The estimate of a call; it is worked out once."""
        if limits.estimate is None:
            limits.estimate = self._estimate(call)
        return limits.estimate

    def _estimate(self, call: Call) -> Estimate:
        if call.direct is not None:
            return Estimate(0, 0, 0, 0)
        if call.operation in _MEDIA:
            usage = expected_usage(call)
            tokens = usage.prompt_tokens, usage.completion_tokens
            return Estimate(*tokens, *tokens, usage.units)
        size, other, fields = 0, 0, call.fields
        for name, raw in fields.items():
            if name in _PROMPTS:
                text = bytes(raw)
                parts = _with_parts(text) if _has_types(text) else 0
                other += parts
                size += 0 if parts else len(text)
        prompt, most_prompt = -(-size // BYTES_PER_TOKEN) + other, -(-size // FEWEST_BYTES) + other
        if call.operation in _WITHOUT_OUTPUT:
            return Estimate(prompt, 0, most_prompt, 0)
        allowed = 0 if _ALLOWED.isdisjoint(fields) else _largest(call, _ALLOWED)
        answers = 1 if _ANSWERS.isdisjoint(fields) else _answers(call)
        guess = self._guesses.get((call.caller.id, call.model), FIRST_GUESS)
        most = (allowed or max(guess, MOST_OUTPUT)) * answers
        return Estimate(prompt, min(allowed or guess, guess) * answers, most_prompt, most)

    def learn(self, call: Call, limits: CallLimits, usage: Usage) -> None:
        """Note once how long an answer was: guesses rise at once and sink by a sixteenth an answer."""
        if limits.learned or call.operation in _WITHOUT_OUTPUT:
            return
        limits.learned = True
        answers = 1 if _ANSWERS.isdisjoint(call.fields) else _answers(call)
        place, actual = (call.caller.id, call.model), -(-usage.completion_tokens // answers)
        guesses = self._guesses
        with self._lock:
            guess = guesses.pop(place, FIRST_GUESS)
            sunk = guess - guess // 16
            guesses[place] = actual if actual > sunk else sunk
            if len(guesses) > REMEMBERED:
                del guesses[next(iter(guesses))]


def _has_types(prompt: bytes) -> bool:
    """Whether some part may be no text. Most long prompts have few quotes, and one byte is found quickly."""
    *first, rest = split_at_quotes(prompt, _FEW)
    return b"type" in first or rest.startswith(b'type"') or b'"type"' in rest


def _with_parts(prompt: bytes) -> int:
    """The tokens of a prompt with parts that are no text; 0 if all its parts are text."""
    if not (b";base64," in prompt or b'"input_audio"' in prompt or b'"file_data"' in prompt):
        return 0
    tally = Tally()
    tally.add_json(prompt)
    return tally.tokens + len(_parts(prompt)) * PART_TOKENS


def _answers(call: Call) -> int:
    return min(_largest(call, _ANSWERS) or 1, _MOST_ANSWERS)


def _largest(call: Call, names: frozenset[str]) -> int:
    """The largest of those fields that are whole numbers above 0; 0 if none is."""
    values = [call.decoded(name, 20) for name in names if name in call.fields]
    return max((value for value in values if type(value) is int and value > 0), default=0)
