"""JSON answers of our own."""

from __future__ import annotations

import msgspec
from flask import Response


def json_response(content: object) -> Response:
    return Response(msgspec.json.encode(content), content_type="application/json")
