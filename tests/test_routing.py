"""Which upstream answers for a model name."""

from __future__ import annotations

import pytest

from flask_gateway.errors import UnknownModel
from flask_gateway.routing import Routes, Target

MODELS = {"fast": Target("llama", "llama-3-8b"), "mock": Target("llama", "shadowing")}
ROUTES = Routes(("llama", "llama-3", "open.ai"), MODELS, None)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "", "llam", "llamas", "LLAMA", "open", "openxai", "/x", "fast-1", "Fast"]
)
def test_no_route(model: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        ROUTES.targets(model)
    assert caught.value.status == 404
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("fast", Target("llama", "llama-3-8b")),  # configured by name, renamed for the upstream
        ("mock", Target("llama", "shadowing")),
        ("llama", Target("llama", "llama")),  # the upstream of that exact name
        ("llama/qwen/q-7b", Target("llama", "qwen/q-7b")),  # upstream/model
        ("llama-3/x", Target("llama-3", "x")),
        ("llama-3-8b", Target("llama-3", "llama-3-8b")),  # the longest name that it begins with
        ("llama-30b", Target("llama", "llama-30b")),
        ("llama-2", Target("llama", "llama-2")),
        ("llama:latest", Target("llama", "llama:latest")),
        ("llama.cpp", Target("llama", "llama.cpp")),
        ("llama_x", Target("llama", "llama_x")),
        ("llama/", Target("llama", "llama/")),
        ("open.ai-x", Target("open.ai", "open.ai-x")),
    ],
)
def test_route(model: str, target: Target) -> None:
    assert ROUTES.targets(model) == (target,)


def test_the_default_takes_every_other_model() -> None:
    routes = Routes(("a", "b"), {}, "b")
    assert routes.targets("gpt-4o") == (Target("b", "gpt-4o"),)
    assert routes.targets("a-1") == (Target("a", "a-1"),)


def test_listed_are_the_models_and_the_upstreams() -> None:
    assert ROUTES.listed() == {
        "fast": "llama",
        "mock": "llama",
        "llama": "llama",
        "llama-3": "llama-3",
        "open.ai": "open.ai",
    }
