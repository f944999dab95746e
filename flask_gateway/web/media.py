"""Handles the operations on sound and pictures, whose requests are JSON or forms with files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec
from flask import Blueprint, Response

from ..guards.body_memory import BodyLease
from ..model.call import HEARING, MEDIA, Call, Operation
from ..model.errors import InvalidField, UnsupportedMediaType
from .anthropic_requests import named_fallbacks
from .inference import answer, count_waiting, make_call, serve
from .request_body import Fields, check
from .request_state import RequestState, request_state
from .upload import FormUpload, is_form, on_disk, read_upload, twice

blueprint = Blueprint("media", __name__)

#: The operations that take forms. Those on sound take nothing else.
_FORMS = frozenset({*HEARING, Operation.IMAGE_EDIT, Operation.IMAGE_VARIATION})
#: Fields that the gateway reads, so that they may not be ambiguous.
_ONCE = ("model", "stream", "response_format", "user", "n")
#: The model of a variation without ``model``, as in the OpenAI API.
DEFAULT_VARIATION = "dall-e-2"


def answer_media(operation: Operation) -> Response:
    """Send the call to the gateway's service and return its reply as a response."""
    state = request_state()
    if operation not in _FORMS or not is_form(state.request):
        if operation in HEARING:
            raise UnsupportedMediaType("Send the sound as multipart/form-data, in the part 'file'.")
        return answer(operation)
    count_waiting(state)
    upload, release = on_disk(state, read_upload)
    return serve(partial(_form_call, operation, upload), release)


def _form_call(operation: Operation, upload: FormUpload, state: RequestState, lease: BodyLease) -> Call:
    """:raises InvalidField: a field is missing, ambiguous or of the wrong type."""
    if name := twice(upload, _ONCE):
        raise InvalidField(f"The form has the field '{name}' more than once. Send it once.", param=name)
    if "fallbacks" in upload.fields:
        message = "A form names fallback models in the header 'x-gateway-fallbacks': a,b."
        raise InvalidField(message, param="fallbacks")
    fields, fallbacks = named_fallbacks(_with_default(operation, upload.fields), state.header)
    model, stream = check(operation, _typed(fields))
    if not upload.files:
        raise InvalidField("The form has no file. Send one, with a file name.", param="file")
    if "litellm" in state.gateway.settings.compat:
        state.model = model
    return make_call(state, operation, model, fields, fallbacks, stream=stream, upload=upload)


def _with_default(operation: Operation, fields: Fields) -> Fields:
    if operation is Operation.IMAGE_VARIATION and "model" not in fields:
        return {**fields, "model": msgspec.Raw(msgspec.json.encode(DEFAULT_VARIATION))}
    return fields


def _typed(fields: Fields) -> Mapping[str, msgspec.Raw]:
    """The fields with those that are no text as JSON has them: ``stream`` is ``true`` and not ``"true"``."""
    typed = dict(fields)
    for name in ("stream", "n"):
        if name in fields:
            typed[name] = msgspec.Raw(msgspec.json.decode(fields[name], type=str).strip().lower().encode())
    return typed


for _operation in MEDIA:
    blueprint.add_url_rule(
        f"/v1/{_operation}",
        endpoint=_operation.name.lower(),
        view_func=partial(answer_media, _operation),
        methods=["POST"],
        provide_automatic_options=False,
    )
