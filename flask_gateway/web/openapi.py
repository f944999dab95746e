"""Serves ``GET /openapi.json``, the OpenAPI description of this API. It is public, so it needs no key."""

from __future__ import annotations

from pathlib import Path

import msgspec
from flask import Blueprint, Response

blueprint = Blueprint("openapi", __name__)

#: ``make openapi`` writes the file from docs/openapi.yaml. It is indented for Git; clients get one line.
_DOCUMENT = msgspec.json.format(Path(__file__).with_name("openapi.json").read_bytes(), indent=0)


@blueprint.get("/openapi.json", provide_automatic_options=False)
def openapi() -> Response:
    return Response(_DOCUMENT, content_type="application/json")
