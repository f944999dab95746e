"""Tests which upstream serves a model name."""

from __future__ import annotations

import pytest

from flask_gateway.model.errors import UnknownModel
from flask_gateway.routing.routes import Route, Routes, Target

MODELS = {
    "fast": Route("fast", ((Target("llama", "llama-3-8b"),),)),
    "mock": Route("mock", ((Target("llama", "shadowing"),),)),
}
ROUTES = Routes(("llama", "llama-3", "open.ai"), MODELS, None)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "", "llam", "llamas", "LLAMA", "open", "openxai", "/x", "fast-1", "Fast"]
)
def test_no_route(model: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        ROUTES.route(model)
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
    assert ROUTES.route(model).tiers == ((target,),)


def test_the_default_takes_every_other_model() -> None:
    routes = Routes(("a", "b"), {}, "b")
    assert routes.route("gpt-4o").tiers == ((Target("b", "gpt-4o"),),)
    assert routes.route("a-1").tiers == ((Target("a", "a-1"),),)


def test_models_and_upstreams_are_listed() -> None:
    assert ROUTES.listed() == {
        "fast": "llama",
        "mock": "llama",
        "llama": "llama",
        "llama-3": "llama-3",
        "open.ai": "open.ai",
    }


def test_fallbacks_follow_the_models_own_route() -> None:
    behind = (Target("b", "x"), Target("b", "y"))
    routes = Routes(
        ("a", "b"), {"fast": Route("fast", ((Target("a", "f"),),))}, None, {"fast": behind, "a": behind}
    )
    assert routes.route("fast").tiers == ((Target("a", "f"),), *((one,) for one in behind))
    assert routes.route("a").tiers == ((Target("a", "a"),), *((one,) for one in behind))
    assert routes.route("a/other").tiers == ((Target("a", "other"),),)
    assert list(routes.configured()) == [Target("a", "f"), *behind]


def test_the_callers_own_fallbacks_replace_those_of_the_route() -> None:
    routes = Routes(("a", "b"), {}, None, {"a": (Target("b", "x"),)})
    assert routes.with_chain("a", ()).tiers == ((Target("a", "a"),),)
    assert routes.with_chain("a", ("b/y", "b")).tiers == (
        (Target("a", "a"),),
        (Target("b", "y"),),
        (Target("b", "b"),),
    )
    with pytest.raises(UnknownModel):
        routes.with_chain("a", ("nope",))


# ---------------------------------------------------------------- names without a model of their own


def unlisted(*names: str, fallbacks: dict[str, tuple[Target, ...]] | None = None) -> Routes:
    return Routes(("llama", "open"), MODELS, "llama", fallbacks, unlisted=frozenset(names))


@pytest.mark.parametrize("model", ["gpt-4o", "llama", "llama/x", "llama-2", "open/gpt", "mocks", ""])
def test_a_name_without_a_model_is_refused_where_none_is_routed(model: str) -> None:
    with pytest.raises(UnknownModel, match="GET /v1/models lists"):
        unlisted().route(model)
    with pytest.raises(UnknownModel):
        unlisted().with_chain("fast", (model,))
    assert unlisted().route("fast").tiers == ((Target("llama", "llama-3-8b"),),)


def test_names_that_fit_a_pattern_are_routed() -> None:
    routes = unlisted("open/*", "llama")
    assert routes.route("open/gpt").tiers == ((Target("open", "gpt"),),)
    assert routes.route("llama").tiers == ((Target("llama", "llama"),),)
    for model in ("open", "llama-2", "gpt"):
        with pytest.raises(UnknownModel):
            routes.route(model)


def test_a_name_with_fallbacks_is_routed() -> None:
    routes = unlisted(fallbacks={"gpt": (Target("open", "gpt"),)})
    assert routes.route("gpt").tiers == ((Target("llama", "gpt"),), (Target("open", "gpt"),))


def test_only_names_that_are_routed_are_listed() -> None:
    catalog = {"llama": ("llama", "q-7b"), "open": ("gpt",)}
    assert unlisted().listed(catalog) == {"fast": "llama", "mock": "llama"}
    assert unlisted("open/*").listed(catalog) == {"fast": "llama", "mock": "llama", "open/gpt": "open"}
