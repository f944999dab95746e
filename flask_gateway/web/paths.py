"""Recognises paths: other spellings of ours, and those of APIs that are not offered here.

Only model calls and the list of models have other spellings. Everything else has one, so that a proxy's rule
for it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..model.call import Operation

#: What people mean who leave ``/v1`` out, write it twice, or have a slash too many in their base URL.
_SPELLED = re.compile(
    r"/+(?:openai/+)?(?:v1/+)*(?:(?P<chat>chat/+completions)|(?P<other>completions|responses|embeddings|"
    r"moderations|rerank|models))/*|/+(?:v1/+)*v2/+(?P<rerank>rerank)/*"
).fullmatch
_MODEL = re.compile(r"/+(?:openai/+)?(?:v1/+)*models/+(?P<name>[^/].*?)/*", re.DOTALL).fullmatch
#: What is compared and quoted of a path.
_LONGEST = 200


def canonical(path: str) -> str:
    """The path as the routes spell it; the same path if it is none of theirs."""
    if found := _SPELLED(path):
        return "/v1/" + ("chat/completions" if found["chat"] else found["other"] or found["rerank"])
    # A model's name may have slashes of its own.
    found = _MODEL(path)
    return f"/v1/models/{found['name']}" if found else path


def is_exactly(path: str, environ: Mapping[str, Any]) -> bool:
    """Whether a request's target is that path as it stands: not ``//metrics`` or ``/%6detrics``, which a
    proxy's rule for it may not match. Servers that do not tell the target are trusted."""
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO")
    return str(target).partition("?")[0] == path


class _Foreign(NamedTuple):
    """Paths of which we know what they are meant for."""

    pattern: str
    #: What is not offered, and what to do instead.
    message: str


_INSTEAD = (
    "Models are asked by POST /v1/chat/completions, /v1/responses or /v1/completions of the OpenAI API."
)
_CHAT = f"is not spoken here. {_INSTEAD}"

ANTHROPIC = re.compile(r"/+(?:anthropic/+)?(?:v1/+)*(?:messages|complete)(?:/.*)?", re.DOTALL).fullmatch

#: In this order. All are matched behind any number of ``/v1``.
_FOREIGN = tuple(
    (re.compile(pattern, re.DOTALL).match, message)
    for pattern, message in (
        _Foreign(r"(anthropic/)?(v1/)*(messages|complete)(/|$)", f"Anthropic's Messages API {_CHAT}"),
        _Foreign(
            r"(upload/)?v1(alpha|beta)[0-9]*(/|$)|models/[^/]+:(?:stream|batch)?[a-zA-Z]*(?:Generate|generate|Embed|embed|count|predict)[a-zA-Z]*$",
            f"Google's Gemini API {_CHAT}",
        ),
        _Foreign(
            r"openai/deployments(/|$)",
            "Azure's paths by deployment are not offered here. Use the OpenAI client with a base_url that "
            "ends in /v1, and send the deployment's name as 'model'.",
        ),
        _Foreign(
            r"api/(chat|generate|tags|show|ps|pull|push|embed|embeddings|version|create|copy|delete|blobs)(/|$)",
            f"Ollama's API {_CHAT} Most clients of Ollama have a setting for OpenAI-compatible servers.",
        ),
        _Foreign(r"model/[^/]+/(invoke|converse)", f"Bedrock's API {_CHAT}"),
        _Foreign(
            r"(v2/)?(key|model|model_group|user|team|organization|customer|budget|spend|global|credentials)/",
            "LiteLLM's management API is not offered here. The gateway's operator sets keys and models; "
            "GET /v1/models lists the models you may call.",
        ),
        _Foreign(
            r"(v2/)?(chat|embed|generate|generate_stream|summarize|classify|tokenize|detokenize|score|pooling|infill"
            r"|completion|invocations|props|slots)$",
            f"This path of another server's API {_CHAT}",
        ),
        _Foreign(
            r"responses/(input_tokens|compact)$",
            "Counting and compacting of responses are not offered here. "
            "The usage of each answer counts its tokens.",
        ),
        _Foreign(
            r"responses/.",
            "Responses are not stored here, so none can be fetched, cancelled or deleted. "
            "Send 'store': false and the whole conversation with each call.",
        ),
        _Foreign(
            r"conversations(/|$)|chat/completions/.",
            "Conversations are not stored here. Send all messages with each call.",
        ),
        _Foreign(
            r"realtime(/|$)",
            f"The Realtime API is not offered here. {_INSTEAD}",
        ),
        _Foreign(
            r"(assistants|threads|chatkit)(/|$)", f"Assistants and threads are not offered here. {_INSTEAD}"
        ),
        _Foreign(
            r"(audio|images|videos|files|uploads|batches|vector_stores|containers|fine_tuning|fine-tunes|evals"
            r"|edits|engines|skills|organization|dashboard|usage|webhooks)(/|$)",
            "This part of the OpenAI API is not offered here. Offered are chat/completions, completions, "
            "responses, embeddings, moderations, rerank and models, all below /v1.",
        ),
    )
)
_VERSIONS = re.compile(r"(?:/+v1(?=/))*/+")


def not_offered(path: str) -> str | None:
    """What to tell a caller who asks for a path of another API, or for an OpenAI path that is not offered."""
    short = re.sub("/+", "/", path[:_LONGEST])
    rest = short[match.end() :] if (match := _VERSIONS.match(short)) else short
    return next((message for found, message in _FOREIGN if found(rest)), None)


_KNOWN = (*(f"/v1/{operation}" for operation in Operation), "/v1/models", "/v1/circuit-breakers")


def unknown(method: str, path: str) -> str:
    """What to tell a caller who asks for a path that nobody knows."""
    near = get_close_matches(path[:_LONGEST].lower(), _KNOWN, 1, 0.6)
    hint = f"The nearest path is {near[0]}." if near else "GET /openapi.json describes what there is."
    return f"There is nothing at {method} {path[:_LONGEST]}. {hint}"
