"""Hooks into schemathesis: most requests name an existing model, so that not all of them end in a 404."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

import schemathesis

MODELS = os.environ.get("SCHEMA_MODELS", "mock").split(",")


def known(name: str) -> str:
    """One of the models, for most names; the name decides which.

    An invalid name stays invalid, one that is so in a path alone, too: the request is meant to be wrong.
    In a path a name is percent-encoded already.
    """
    if not (re.fullmatch("[!-.0-~]([ -~]{0,254}[!-.0-~])?", unquote(name)) and len(name) % 4):
        return name
    return MODELS[len(name) // 4 % len(MODELS)]


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = known(body["model"])
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    named = path_parameters or {}
    if (
        "upstream" in named and "path" in named and len(str(named["path"])) % 2
    ):  # the raw paths of one upstream
        return {"upstream": "described", "path": "files"}
    response = str(named.get("response_id", ""))
    if re.fullmatch(r"[\w-]+", response) and len(response) % 4:
        return {"response_id": f"resp_a{sum(response.encode()) % 30}"}  # one that is stored
    return {name: known(value) if isinstance(value, str) else value for name, value in named.items()}
