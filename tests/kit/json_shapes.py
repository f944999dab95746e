"""Says whether the gateway refuses the structure of a body."""

from __future__ import annotations

from flask_gateway.model.errors import InvalidJson
from flask_gateway.web.json_limits import check_shape


def refuses(body: bytes) -> bool:
    try:
        check_shape(body)
    except InvalidJson:
        return True
    return False
