"""Which upstream answers for a model name. Pure: names in, a route out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .errors import UnknownModel

#: A model name may go on behind an upstream's name at one of these: ``llama-3-8b`` is ``llama``'s.
BOUNDARIES = frozenset("-:./_")


class Target(NamedTuple):
    """Where a call goes: an upstream, and the name by which that upstream knows the model."""

    upstream: str
    model: str


class Routes:
    """The table of routes. Immutable, so shared by all threads without a lock.

    :param upstreams: the names of all upstreams.
    :param models: models configured by name.
    :param default: the upstream for every other model.
    """

    def __init__(self, upstreams: tuple[str, ...], models: Mapping[str, Target], default: str | None) -> None:
        self._upstreams = frozenset(upstreams)
        # The longest name first, so that the first one that fits is the most telling one.
        self._by_length = sorted(upstreams, key=len, reverse=True)
        self._models = dict(models)
        self._default = default

    def targets(self, model: str) -> tuple[Target, ...]:
        """The candidates for a model, in the order in which to ask them.

        A configured model; else the upstream of that exact name; else ``upstream/model``; else the
        longest upstream name that the model begins with, at a boundary; else the default.

        :raises UnknownModel: there is none.
        """
        return (self._target(model),)

    def _target(self, model: str) -> Target:
        if model in self._models:
            return self._models[model]
        if model in self._upstreams:
            return Target(model, model)
        upstream, slash, name = model.partition("/")
        if slash and name and upstream in self._upstreams:
            return Target(upstream, name)
        for upstream in self._by_length:
            if model.startswith(upstream) and model[len(upstream)] in BOUNDARIES:
                return Target(upstream, model)
        if self._default is not None:
            return Target(self._default, model)
        raise UnknownModel(
            f"The model '{model[:200]}' does not exist here. GET /v1/models lists the models you may call.",
            param="model",
        )

    def listed(self) -> dict[str, str]:
        """The model names that can be listed, each with the upstream that answers for it."""
        return {name: name for name in sorted(self._upstreams)} | {
            name: target.upstream for name, target in sorted(self._models.items())
        }
