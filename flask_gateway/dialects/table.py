"""The table of dialects: by operation, and by path for errors of requests that are no call.

A further API is one more module with entries here. Errors, streaming and the web layer stay as they are.
"""

from __future__ import annotations

from ..model.call import Operation
from . import anthropic, gemini, openai
from .dialect import Dialect, Envelope

#: The operations that are called by POST.
DIALECTS: dict[Operation, Dialect] = openai.DIALECTS | anthropic.DIALECTS
_ALL = DIALECTS | openai.SESSION_DIALECTS | gemini.DIALECTS

#: APIs that word errors in their own way, by their paths. All other paths are OpenAI's.
_ENVELOPES = ((anthropic.is_path, anthropic.envelope), (gemini.is_path, gemini.envelope))


def dialect_of(operation: Operation) -> Dialect:
    return _ALL[operation]


def envelope_of(path: str) -> Envelope:
    """Return what words the errors of requests to this path."""
    return next((envelope for is_path, envelope in _ENVELOPES if is_path(path)), openai.envelope)
