"""Finds the price of a model at an upstream: overrides first, then the tables, by exact names.

No price is found by the beginning of a name: ``claude-haiku-4-5-pro`` is not ``claude-haiku-4-5``. Only a
date at the end may be left out: providers publish a model under its name, and under its name with a date.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

import msgspec

from .rates import FREE, ModelPrice, Period

#: A date at the end of a model's name: ``-2025-08-07``, ``-20250929`` or ``@20250929``.
_DATE = re.compile(r"(?:-20\d\d-\d\d-\d\d|[-@]20\d{6})\Z")
#: Pairs of provider and model whose price is remembered.
_REMEMBERED = 4096
#: The provider of upstreams that cost nothing.
FREE_PROVIDER = "free"


class Provider(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prices of one provider.

    :param url: a regular expression that the URL of its interface begins with.
    :param models: by name in lower case: the periods of its price, or the name under which they stand.
    :param like: other providers whose prices it asks for models that it does not list.
    """

    url: str
    models: Mapping[str, tuple[Period, ...] | str]
    like: tuple[str, ...] = ()


class PriceTable(msgspec.Struct, frozen=True):
    """A table of prices, as ``table.json.gz`` holds it.

    :param version: the data's own version, and where it is from.
    :param made: the date at which it was compiled, ``YYYY-MM-DD``.
    """

    version: str
    made: str
    providers: Mapping[str, Provider]

    def provider_of(self, url: str) -> str | None:
        """Return the provider that an upstream's URL belongs to."""
        for name, provider in self.providers.items():
            if re.match(provider.url, url, re.IGNORECASE):
                return name
        return None

    def find(self, provider: str, model: str) -> tuple[Period, ...] | None:
        """Return the periods of a model's price: by its name, or by its name without the date at the end."""
        names = [model.lower(), _DATE.sub("", model.lower())]
        for name in dict.fromkeys(names):
            for one in self._with_like(provider):
                if (found := _resolve(one.models, name)) is not None:
                    return found
        return None

    def _with_like(self, name: str) -> Sequence[Provider]:
        provider = self.providers.get(name)
        if provider is None:
            return ()
        return [provider, *(self.providers[other] for other in provider.like if other in self.providers)]


def _resolve(models: Mapping[str, tuple[Period, ...] | str], name: str) -> tuple[Period, ...] | None:
    entry = models.get(name)
    if isinstance(entry, str):
        entry = models.get(entry)
    return None if isinstance(entry, str) else entry


def decode(text: bytes) -> PriceTable:
    """Read a table.

    :raises ValueError: it is none; the text says where.
    """
    return msgspec.json.decode(text, type=PriceTable)


@lru_cache(maxsize=1)
def shipped() -> PriceTable:
    """Return the table that the package ships."""
    return decode(gzip.decompress(files(__package__).joinpath("table.json.gz").read_bytes()))


class Prices:
    """The prices in force for one configuration. Threads may share one.

    :param overrides: by ``(upstream, model)``; they win over every table.
    :param tables: asked in this order, with the ``source`` of what they know.
    """

    def __init__(
        self,
        overrides: Mapping[tuple[str, str], ModelPrice],
        tables: Sequence[tuple[str, PriceTable]],
    ) -> None:
        self._overrides = dict(overrides)
        self._tables = tuple(tables)
        self._known = lru_cache(_REMEMBERED)(self._look_up)

    def provider_of(self, url: str) -> str | None:
        """Return the provider of an upstream's URL, by the first table that knows it."""
        named = (table.provider_of(url) for _, table in self._tables)
        return next((name for name in named if name is not None), None)

    def price(
        self, upstream: str, provider: str | None, model: str, answered: str | None = None
    ) -> ModelPrice | None:
        """Return the price of a model, or ``None`` if it is unknown.

        :param upstream: the upstream's name in the settings.
        :param provider: the name of its prices: a provider, ``free``, or ``None``.
        :param model: the model's name as the upstream was asked for it.
        :param answered: the name in the answer, tried where the other is unknown.
        """
        price = self._known(upstream, provider, model)
        if price is None and answered and answered != model:
            price = self._known(upstream, provider, answered)
        return price

    def _look_up(self, upstream: str, provider: str | None, model: str) -> ModelPrice | None:
        override = self._overrides.get((upstream, model))
        if override is not None:
            return override
        if provider == FREE_PROVIDER:
            return FREE
        for source, table in self._tables:
            if provider is not None and (periods := table.find(provider, model)) is not None:
                return ModelPrice(periods, source)
        return None
