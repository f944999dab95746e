"""Serves ``GET /v1/models``: the models that the caller may call, in OpenAI's form or in Anthropic's."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from werkzeug.exceptions import MethodNotAllowed

from ..dialects.gemini import is_method
from ..model.call import GEMINI, Operation
from ..model.errors import UnknownModel
from .json_response import json_response
from .request_headers import Header
from .request_state import gateway, request_state

blueprint = Blueprint("models", __name__)

#: The API requires a creation time, which the gateway does not know. This one is the same for all models and
#: workers, also after a restart, and is a date that clients can show: 2026-01-01.
CREATED, CREATED_AT = 1767225600, "2026-01-01T00:00:00Z"


@blueprint.get("/v1/models", provide_automatic_options=False)
def list_models() -> Response:
    if wants_google(request_state().header):
        return google_list()
    if _wants_anthropic():
        return json_response(_anthropic_list([_anthropic_model(name) for name in _callable()]))
    data = [_model(name, upstream) for name, upstream in _callable().items()]
    # Codex reads only ``models``, and fails without it. The gateway does not know what Codex wants of each
    # model, such as instructions and tools. With an empty list, Codex uses its built-in values.
    return json_response({"object": "list", "data": data, "models": []})


@blueprint.get("/v1/models/<path:name>", provide_automatic_options=False)
def show_model(name: str) -> Response:
    _check_method(name)
    if wants_google(request_state().header):
        return google_model(name)
    upstream = _callable().get(name) or _unlisted(name)
    if upstream is None:
        raise UnknownModel(
            f"The model '{name[:200]}' is not listed here. GET /v1/models lists the models you may call.",
            param="model",
        )
    return json_response(_anthropic_model(name) if _wants_anthropic() else _model(name, upstream))


def wants_google(header: Header) -> bool:
    """Whether the request comes from a client of Google's API, which names its key and itself so."""
    return header("x-goog-api-key") is not None or header("x-goog-api-client") is not None


@blueprint.get("/v1beta/models", provide_automatic_options=False)
def google_list() -> Response:
    """The models that Google's API can call: https://ai.google.dev/api/models"""
    return json_response({"models": [_google_model(name) for name in _callable() if _speaks_google(name)]})


@blueprint.get("/v1beta/models/<path:name>", provide_automatic_options=False)
def google_model(name: str) -> Response:
    _check_method(name)
    if name not in _callable() or not _speaks_google(name):
        raise UnknownModel(
            f"The model '{name[:200]}' is not listed here. GET /v1beta/models lists the models you may call.",
            param="model",
        )
    return json_response(_google_model(name))


def _check_method(name: str) -> None:
    """:raises MethodNotAllowed: the path is that of a method of Google's API, which is called by POST."""
    if is_method(name):
        raise MethodNotAllowed(["POST"])


def _speaks_google(name: str) -> bool:
    return gateway().candidates.takes(name, Operation.GENERATE)


def _google_model(name: str) -> dict[str, Any]:
    takes = gateway().candidates.takes
    return {
        "name": f"models/{name}",
        "version": "",
        "displayName": name,
        "supportedGenerationMethods": [str(method) for method in GEMINI if takes(name, method)],
    }


def _wants_anthropic() -> bool:
    """Whether the request comes from a client of Anthropic's API, which sends its version always."""
    return request_state().header("anthropic-version") is not None


def _anthropic_list(models: list[dict[str, Any]]) -> dict[str, Any]:
    """All models as one page: https://docs.claude.com/en/api/models-list."""
    first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    return {"data": models, "has_more": False, "first_id": first, "last_id": last}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": CREATED_AT}


def _unlisted(name: str) -> str | None:
    """The upstream that the gateway would ask first for an unlisted model, if the caller may call it."""
    if not request_state().known.may_call(name):
        return None
    try:
        return gateway().routes.route(name).tiers[0][0].upstream
    except UnknownModel:
        return None


def _callable() -> dict[str, str]:
    """The listed models that this caller may name, each with its upstream."""
    listed, caller = gateway().listed(), request_state().known
    return {name: upstream for name, upstream in listed.items() if caller.may_call(name)}


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": upstream}
