"""Builds requests of Anthropic's API, reads its headers, and adds to errors what only its callers need."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..config.kinds import Kind
from ..model.call import Call, Operation
from ..model.errors import UpstreamError, UpstreamQuotaExhausted, UpstreamRefusal, UpstreamThrottled

#: The version of callers that name none.
VERSION = "2023-06-01"
#: The version in the body of requests to Vertex AI, as JSON.
_VERTEX_VERSION = msgspec.Raw(b'"vertex-2023-10-16"')
#: Headers of an answer that the caller gets. Anthropic's support asks for the first.
PASSED_ON = ("request-id", "x-should-retry")


def with_anthropic_headers(head: Mapping[str, str], call: Call) -> dict[str, str]:
    """The headers of a request, with those of the caller."""
    return {"anthropic-version": VERSION, **call.headers, **head}


def vertex_body(call: Call) -> bytes:
    """The body for a model of Anthropic at Vertex AI: the version in it, and the model in the path instead.

    Only a request to count tokens names the model in the body.
    """
    fields = {name: value for name, value in call.fields.items() if name != "model"}
    fields.setdefault("anthropic_version", _VERTEX_VERSION)
    if call.operation is Operation.COUNT:
        fields["model"] = msgspec.Raw(msgspec.json.encode(call.model))
    return msgspec.json.encode(fields)


def with_key_as_user(call: Call) -> Call:
    """The call with the id of its key in place of ``metadata.user_id``; the same call if it has none."""
    try:
        metadata = _decode_metadata(call.fields.get("metadata", b"{}"))
    except (ValueError, RecursionError):
        return call  # the upstream refuses it in its own words
    if "user_id" not in metadata:
        return call
    replaced = msgspec.json.encode({**metadata, "user_id": call.caller.id})
    return msgspec.structs.replace(call, fields={**call.fields, "metadata": msgspec.Raw(replaced)})


_decode_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that the caller gets."""
    found = {name: headers.get(name, "") for name in PASSED_ON}
    return {name: value for name, value in found.items() if value and value.isascii() and value.isprintable()}


def anthropic_error(
    error: UpstreamError, headers: Mapping[str, str], body: bytes, kind: Kind
) -> UpstreamError:
    """The error with the upstream's own body and headers, which callers of this API act on.

    Claude Code decides by the words of a refusal which feature it leaves out.
    """
    throttled = type(error) is UpstreamThrottled
    if throttled and kind.quota_without_wait and "retry-after" not in headers:
        assert isinstance(error, UpstreamThrottled)
        fields, upstream = error.error_object, error.upstream
        error = UpstreamQuotaExhausted(error.message, status=429, error_object=fields, upstream=upstream)
        error.headers["x-should-retry"] = "false"
    if isinstance(error, UpstreamRefusal):
        error.headers = {**passed_on(headers), **error.headers}
        if _is_error(body):
            error.body = body
    return error


class _Error(msgspec.Struct):
    type: str
    error: dict[str, msgspec.Raw]


_decode_error = msgspec.json.Decoder(_Error).decode


def _is_error(body: bytes) -> bool:
    """Whether a body is an error of this API."""
    try:
        return _decode_error(body).type == "error"
    except (ValueError, RecursionError):
        return False
