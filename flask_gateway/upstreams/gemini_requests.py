"""Builds requests to Google's Gemini API, and keeps its words for errors."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..config.kinds import Kind
from ..model.call import Call, Operation
from ..model.errors import UpstreamError, UpstreamRefusal

_decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def gemini_request(kind: Kind, base: str, call: Call) -> tuple[str, bytes]:
    """The URL and the body of a call. The path names the model, the body does not.

    Each request of a batch has to name the same model: https://ai.google.dev/api/embeddings
    """
    url, fields = kind.gemini_url_of(base, call.operation, call.model, call.query), call.fields
    if call.operation is Operation.EMBED_CONTENTS:
        model = msgspec.Raw(msgspec.json.encode(f"models/{call.model}"))
        named = [{**one, "model": model} for one in _decode_objects(fields["requests"])]
        fields = {**fields, "requests": msgspec.Raw(msgspec.json.encode(named))}
    return url, msgspec.json.encode(fields)


def gemini_head(kind: Kind, head: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The headers of a request, with the key in Google's own header and not in that for OpenAI's API."""
    kept = {name: value for name, value in head.items() if name != "Authorization"}
    return {**kept, **kind.gemini_headers_of(key)}


class _Error(msgspec.Struct):
    error: dict[str, msgspec.Raw]


_decode_error = msgspec.json.Decoder(_Error | list[_Error]).decode


def gemini_error(error: UpstreamError, body: bytes) -> UpstreamError:
    """The error with the upstream's own body, which the callers of this API act on."""
    if isinstance(error, UpstreamRefusal) and _is_error(body):
        error.body = body
    return error


def _is_error(body: bytes) -> bool:
    """Whether a body is an error of this API."""
    try:
        _decode_error(body)
    except (ValueError, RecursionError):
        return False
    return True
