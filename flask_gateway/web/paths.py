"""Recognises paths: other spellings of the gateway's own, and paths of APIs that it does not offer.

Only model calls and the list of models have other spellings. Every other path has exactly one, so that a
proxy's rule for it cannot be bypassed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..dialects.table import DIALECTS

#: Usual mistakes in a base URL: ``/v1`` missing or doubled, or a slash too many.
_SPELLED = re.compile(
    r"/+(?:(?:openai|anthropic)/+)?(?:v1/+)*(?:(?P<chat>chat/+completions)|(?P<count>messages/+count_tokens)|"
    r"(?P<kind>audio|images)/+(?P<work>transcriptions|translations|speech|generations|edits|variations)|"
    r"(?P<other>completions|responses|embeddings|moderations|rerank|models|messages|realtime))/*|"
    r"/+(?:v1/+)*v2/+(?P<rerank>rerank)/*"
).fullmatch
_STORED = re.compile(
    r"/+(?:openai/+)?(?:v1/+)*responses/+(?P<id>[^/]+)(?:/+(?P<action>cancel|input_items))?/*"
).fullmatch
_MODEL = re.compile(r"/+(?:(?:openai|anthropic)/+)?(?:v1/+)*models/+(?P<name>[^/].*?)/*", re.DOTALL).fullmatch
#: How many characters of a path we compare and quote.
_LONGEST = 200


def canonical(path: str) -> str:
    """The path as the routes spell it; the path unchanged if no route matches it."""
    if match := _SPELLED(path):
        if match["chat"] or match["count"]:
            return "/v1/chat/completions" if match["chat"] else "/v1/messages/count_tokens"
        if match["kind"]:
            return f"/v1/{match['kind']}/{match['work']}"
        return f"/v1/{match['other'] or match['rerank']}"
    if match := _STORED(path):
        action = f"/{match['action']}" if match["action"] else ""
        return f"/v1/responses/{match['id']}{action}"
    # A model's name may contain slashes.
    match = _MODEL(path)
    return f"/v1/models/{match['name']}" if match else path


def is_exactly(path: str, environ: Mapping[str, Any]) -> bool:
    """Whether the request's target is literally that path.

    ``//metrics`` or ``/%6detrics`` is not: a proxy's rule may miss it. If the server does not pass on the
    target, the decoded path counts.
    """
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO")
    return str(target).partition("?")[0] == path


class _Foreign(NamedTuple):
    """Paths of another API."""

    pattern: str
    #: The error message: the missing feature, and what to do instead.
    message: str


_INSTEAD = "Use POST /v1/chat/completions, /v1/responses or /v1/completions of the OpenAI API instead."
_CHAT = f"is not offered here. {_INSTEAD}"

#: Tried in this order, after any number of leading ``/v1``.
_FOREIGN = tuple(
    (re.compile(pattern, re.DOTALL).match, message)
    for pattern, message in (
        _Foreign(
            r"(anthropic/)?(v1/)*(messages/(?!count_tokens)|complete(/|$))",
            "This part of Anthropic's API is not offered here. "
            "The gateway offers messages, messages/count_tokens and models, all below /v1.",
        ),
        _Foreign(
            r"(upload/)?v1(alpha|beta)[0-9]*(/|$)|models/[^/]+:(?:stream|batch)?[a-zA-Z]*(?:Generate|generate|Embed|embed|count|predict)[a-zA-Z]*$",
            "This part of Google's Gemini API is not offered here. The gateway offers generateContent, "
            "streamGenerateContent, countTokens, embedContent, batchEmbedContents and models, below /v1beta.",
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
            "Token counting and compaction of responses are not offered here. "
            "Each answer reports its tokens as usage.",
        ),
        _Foreign(
            r"responses/[^/]+/.",
            "Of a stored response the gateway offers GET, DELETE, cancel and input_items. "
            "Send the whole conversation with each call.",
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
            "This part of the OpenAI API is not offered here. The gateway offers chat/completions, "
            "completions, responses, embeddings, moderations, rerank, audio, images and models, below /v1.",
        ),
    )
)
_VERSIONS = re.compile(r"(?:/+v1(?=/))*/+")


def not_offered(path: str) -> str | None:
    """The error message for a path of another API, or for an OpenAI path that the gateway does not offer."""
    short = re.sub("/+", "/", path[:_LONGEST])
    rest = short[match.end() :] if (match := _VERSIONS.match(short)) else short
    return next((message for matches, message in _FOREIGN if matches(rest)), None)


_KNOWN = (
    *(f"/v1/{dialect.path}" for dialect in DIALECTS.values()),
    "/v1/models",
    "/v1/key",
    "/v1/circuit-breakers",
)


def unknown(method: str, path: str) -> str:
    """The error message for an unknown path."""
    near = get_close_matches(path[:_LONGEST].lower(), _KNOWN, 1, 0.6)
    hint = f"The nearest path is {near[0]}." if near else "GET /openapi.json describes all paths."
    return f"There is nothing at {method} {path[:_LONGEST]}. {hint}"
