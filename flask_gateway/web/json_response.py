"""Makes JSON responses for the gateway's own endpoints."""

from __future__ import annotations

import msgspec
from flask import Response


def json_response(content: object) -> Response:
    return Response(msgspec.json.encode(content), content_type="application/json")
