"""For schemathesis: most requests name a model that there is, so that not all of them end at the door."""

from __future__ import annotations

import os
import re
from typing import Any

import schemathesis

MODELS = os.environ.get("SCHEMA_MODELS", "mock").split(",")


def known(name: str) -> str:
    """Mostly one of the models; which one is up to the name. What is described as no name stays none, or else
    a request that is meant to be wrong would be put right."""
    if not (re.fullmatch("[ -~]{1,256}", name) and len(name) % 4):
        return name
    return MODELS[len(name) // 4 % len(MODELS)]


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = known(body["model"])
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    named = (path_parameters or {}).items()
    return {name: known(value) if isinstance(value, str) else value for name, value in named}
