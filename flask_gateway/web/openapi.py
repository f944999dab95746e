"""``GET /openapi.json``: all that can be asked, for machines. The same for everybody, so it needs no key."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response

blueprint = Blueprint("openapi", __name__)

#: Made of docs/openapi.yaml by ``make openapi``.
_DOCUMENT = Path(__file__).with_name("openapi.json").read_bytes()


@blueprint.get("/openapi.json", provide_automatic_options=False)
def openapi() -> Response:
    return Response(_DOCUMENT, content_type="application/json")
