"""For schemathesis: most requests name a model that there is, so that not all of them end at the door."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

MODELS = os.environ.get("SCHEMA_MODELS", "mock").split(",")


def known(name: str) -> str:
    """Mostly one of the models; which one is up to the name."""
    return MODELS[len(name) // 4 % len(MODELS)] if len(name) % 4 else name


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = known(body["model"])
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    named = (path_parameters or {}).items()
    return {name: known(value) if isinstance(value, str) else value for name, value in named}
