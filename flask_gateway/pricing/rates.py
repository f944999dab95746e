"""Computes what an answer costs from its units and the rates of its model.

A **rate** is pico-dollars a unit. The rates in force depend on the moment of the call, on the service tier in
the answer, and on the number of input tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from ..model.money import cost
from ..model.units import Units

#: Seconds in a day.
_DAY = 86400


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pico-dollars a unit, by the names of ``Units``. ``None``: the part has no rate of its own.

    A part without a rate is billed as the rest of its total. A total without a rate is not known, so a call
    that uses it has no known cost.
    """

    input: int | None = None
    cached: int | None = None
    write_5m: int | None = None
    write_1h: int | None = None
    input_audio: int | None = None
    cached_audio: int | None = None
    input_image: int | None = None
    output: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    requests: int | None = None
    searches: int | None = None
    images: int | None = None
    seconds: int | None = None
    characters: int | None = None

    def over(self, base: Rates) -> Rates:
        """Return these rates, and those of ``base`` where these have none."""
        own = {name: rate for name, rate in msgspec.structs.asdict(self).items() if rate is not None}
        return msgspec.structs.replace(base, **own)

    @property
    def digest(self) -> str:
        """The first 16 hex digits of a digest, by which a row of the ledger names its rates."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class Tier(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rates of a whole call that has more input than ``above``.

    :param at: the tier begins at the threshold itself.
    """

    above: int
    rates: Rates
    at: bool = False

    def holds(self, tokens: int) -> bool:
        return tokens > self.above or (self.at and tokens == self.above)


class Period(msgspec.Struct, frozen=True, omit_defaults=True, rename={"begins": "from"}):
    """Rates, and when they apply.

    :param begins: epoch seconds from which they apply.
    :param hours: seconds of the UTC day between which they apply; the second may be before the first.
    :param service: the service tier or kind of processing that they are for, such as ``flex`` or ``batch``.
        Such rates replace the usual ones part by part.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    begins: int = 0
    hours: tuple[int, int] | None = None
    service: str = ""

    def holds(self, moment: float) -> bool:
        if moment < self.begins:
            return False
        if self.hours is None:
            return True
        (start, end), second = self.hours, moment % _DAY
        return start <= second < end if start <= end else second >= start or second < end

    @property
    def is_plain(self) -> bool:
        """Whether its rates apply to every call at every time."""
        return not (self.begins or self.hours or self.service or self.tiers)

    def at(self, tokens: int) -> Rates:
        """Return the rates of a call with so many input tokens: those of the highest tier that holds."""
        held = [tier for tier in self.tiers if tier.holds(tokens)]
        return held[-1].rates.over(self.rates) if held else self.rates


class ModelPrice(msgspec.Struct, frozen=True):
    """Everything that is known about the price of one model. The last period that holds is the one in force.

    :param source: where the price is from: a setting, the operator's table or the shipped one.
    """

    periods: tuple[Period, ...]
    source: str = "shipped"

    def rates(self, tokens: int, moment: float, service: str = "") -> Rates | None:
        """Return the rates in force; ``None`` if there are none yet.

        :param tokens: input tokens in all.
        :param moment: when the upstream was asked, epoch seconds.
        :param service: the service tier that the answer reports, or ``batch``.
        """
        if (plain := self.plain) is not None:
            return plain
        base = self._last(moment, "")
        special = self._last(moment, service) if service else None
        if base is None or special is None:
            return None if base is None else base.at(tokens)
        return special.at(tokens).over(base.at(tokens))

    @property
    def plain(self) -> Rates | None:
        """The rates of a price that has the same ones for every call at every time."""
        return self.periods[0].rates if len(self.periods) == 1 and self.periods[0].is_plain else None

    def cost(self, units: Units, moment: float, service: str = "") -> int | None:
        """Return what the units cost, nano-dollars, rounded up; ``None`` if a used unit has no rate."""
        units = units.consistent()
        rates = self.rates(units.input, moment, service)
        return None if rates is None else amount(units, rates)

    def _last(self, moment: float, service: str) -> Period | None:
        held = [one for one in self.periods if one.service == service and one.holds(moment)]
        return held[-1] if held else None


#: A model that costs nothing, for hardware of one's own.
FREE = ModelPrice((Period(Rates(input=0, output=0)),), "free")


def amount(units: Units, rates: Rates) -> int | None:
    """Return what consistent units cost at the rates, nano-dollars; ``None`` if a used unit has no rate."""
    parts = list(_parts(units, rates))
    if any(rate is None and count > 0 for count, rate in parts):
        return None
    return cost((count, rate or 0) for count, rate in parts)


def plain_amount(read: int, cached: int, written: int, rates: Rates) -> int | None:
    """Return what one request of text costs: :func:`amount` without the parts that few answers have.

    :param read: input tokens in all. :param cached: those read from a cache, at most ``read``.
    :param written: output tokens.
    """
    pico = rates.requests or 0
    if rates.cached is not None:
        pico, read = pico + cached * rates.cached, read - cached
    if (read and rates.input is None) or (written and rates.output is None):
        return None
    return -(-(pico + read * (rates.input or 0) + written * (rates.output or 0)) // 1000)


def _parts(units: Units, rates: Rates) -> Iterator[tuple[int, int | None]]:
    if not _is_billed_by_unit(units, rates):
        yield from _input(units, rates)
        yield from _output(units, rates)
    yield units.requests, rates.requests or 0
    yield units.searches, rates.searches or 0
    for count, rate in (
        (units.images, rates.images),
        (units.seconds, rates.seconds),
        (units.characters, rates.characters),
    ):
        # Where a model is billed by tokens, its images and seconds are told for information.
        yield (count, rate) if rate is not None or rates.input is None else (0, None)


def _is_billed_by_unit(units: Units, rates: Rates) -> bool:
    """Whether the model is billed by its images, seconds or characters. Its tokens are then told for
    information."""
    if rates.input is not None or rates.output is not None:
        return False
    natural = (
        (units.images, rates.images),
        (units.seconds, rates.seconds),
        (units.characters, rates.characters),
    )
    return any(count and rate is not None for count, rate in natural)


def _input(units: Units, rates: Rates) -> Iterator[tuple[int, int | None]]:
    """Each part that has a rate at its own, the rest at the total's. A token counts once."""
    cached, audio = units.cached, units.input_audio
    priced: list[tuple[int, int | None]] = []
    if rates.cached_audio is not None:
        priced.append((units.cached_audio, rates.cached_audio))
        cached, audio = cached - units.cached_audio, audio - units.cached_audio
    elif rates.input_audio is not None:
        cached -= units.cached_audio
    write_1h = rates.write_1h if rates.write_1h is not None else rates.write_5m
    priced += [
        (cached, rates.cached),
        (units.write_5m, rates.write_5m),
        (units.write_1h, write_1h),
        (audio, rates.input_audio),
        (units.input_image, rates.input_image),
    ]
    yield from _with_rest(units.input, rates.input, priced)


def _output(units: Units, rates: Rates) -> Iterator[tuple[int, int | None]]:
    priced = [
        (units.reasoning, rates.reasoning),
        (units.output_audio, rates.output_audio),
        (units.output_image, rates.output_image),
    ]
    yield from _with_rest(units.output, rates.output, priced)


def _with_rest(
    total: int, rate: int | None, parts: list[tuple[int, int | None]]
) -> Iterator[tuple[int, int | None]]:
    own = [part for part in parts if part[1] is not None]
    yield from own
    yield max(total - sum(count for count, _ in own), 0), rate
