"""Writes every call into the journal: a line when all guards have admitted it, and a line for each leg.

The order at the end of a call is: the guards settle their accounts, the journal gets the lines, and the
caller gets the last bytes of a whole answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ..model.call import Call, Outcome
from ..model.errors import GatewayError
from ..model.money import dollars
from ..model.protocols import NO_PERMIT, Permit, Service
from ..model.reply import Reply
from ..model.spend import Applied, Leg, Spend
from ..model.units import Units
from .costing import Costing
from .journal import Journal
from .lines import Opened, Settled
from .usage_cost import MARK, CostInUsage, asks_for_usage

log = logging.getLogger(__name__)

#: A longer name, characters, is cut.
MOST_NAME = 256
#: Pairs of upstream and model whose missing price was logged.
_MOST_MISSED = 1000
_NO_LEG = Leg(upstream="", model="", units=Units(requests=0), cost=0)


class JournalGuard:
    """Writes the line that opens a call. It is the last guard and refuses none.

    A call that has no line, because the worker was killed before, has not been sent to an upstream.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock

    def admit(self, call: Call) -> Permit:
        spend = call.spend
        if spend is not None:
            spend.number = self._journal.number()
            caller = call.caller
            line = Opened(
                n=spend.number,
                id=call.ids.request[:MOST_NAME],
                at=self._clock(),
                key=caller.id,
                team=caller.team,
                user=call.user[:MOST_NAME],
                model=(spend.model or call.model)[:MOST_NAME],
                holds=spend.holds,
            )
            self._journal.write(line)
        return NO_PERMIT  # the service ends the call, after every permit


class AccountedService:
    """Wraps the guarded service and writes the legs of each call that its guards admitted.

    :param tell: whether whole answers carry their cost in ``x-gateway-cost``, and streams in ``usage.cost``.
    """

    def __init__(
        self, service: Service, journal: Journal, costing: Costing, clock: Callable[[], float], *, tell: bool
    ) -> None:
        self.name = service.name
        self._service = service
        self._journal = journal
        self._costing = costing
        self._clock = clock
        self._tell = tell
        self._missed: set[tuple[str, str]] = set()

    def send(self, call: Call) -> Reply:
        try:
            reply = self._service.send(call)
        except BaseException as error:
            outcome = Outcome.of_error(error)
            status = error.status if isinstance(error, GatewayError) else 500
            self._failed(call, outcome, status)
            raise
        reply.on_settled(partial(self._settled, call, reply))
        if self._tell and call.stream and asks_for_usage(call):
            reply.restate_with(CostInUsage(reply, call, self._costing).restate, MARK)
        return reply

    def _failed(self, call: Call, outcome: Outcome, status: int) -> None:
        try:
            self._settle(call, outcome, status)
        except Exception:  # the caller gets the error that ended the call, not this one
            log.exception("could not write a call into the journal")

    def _settled(self, call: Call, reply: Reply, outcome: Outcome) -> None:
        spend = self._settle(call, outcome, outcome.error.status if outcome.error else reply.status)
        if self._tell and not call.stream and spend is not None and (cost := spend.cost) is not None:
            reply.headers["x-gateway-cost"] = dollars(cost)

    def _settle(self, call: Call, outcome: Outcome, status: int) -> Spend | None:
        spend = call.spend
        if spend is None or not spend.number:  # a guard refused it
            return None
        legs = self._costing.legs(call, outcome)
        at = self._clock() if spend.at is None else spend.at
        for line in settled_lines(call, spend, legs, at, status):
            self._journal.write(line)
            if line.cost is None:
                self._miss(line.upstream, line.upstream_model)
        return spend

    def _miss(self, upstream: str, model: str) -> None:
        pair = (upstream, model)
        if pair not in self._missed and len(self._missed) < _MOST_MISSED:
            self._missed.add(pair)
            text = "the model %r of upstream %r has no price, so the cost of its calls is unknown"
            log.warning(text, model, upstream)


def settled_lines(call: Call, spend: Spend, legs: tuple[Leg, ...], at: float, status: int) -> list[Settled]:
    """The lines of a call that has ended: one for each leg, or one that only ends it."""
    last = len(legs) - 1
    if last <= 0:
        return [_settled_line(call, spend, legs[0] if legs else _NO_LEG, at, status)]
    return [_settled_line(call, spend, leg, at, status, number, last) for number, leg in enumerate(legs)]


def _settled_line(  # noqa: PLR0913  the parts of a line
    call: Call, spend: Spend, leg: Leg, at: float, status: int, number: int = 0, last: int = 0
) -> Settled:
    caller = call.caller
    return Settled(
        n=spend.number,
        id=call.ids.request[:MOST_NAME],
        at=at,
        key=caller.id,
        leg=number,
        team=caller.team,
        user=call.user[:MOST_NAME],
        model=(spend.model or call.model)[:MOST_NAME],
        upstream=leg.upstream,
        upstream_model=leg.model[:MOST_NAME],
        units=leg.units,
        cost=leg.cost,
        source=leg.source,
        rates=leg.rates,
        tags=spend.tags,
        status=status,
        applied=spend.applied,
        end=number == last,
        held=spend.deferred if number == last else (),
    )


def adjustment(number: int, subject: str, amount: int, request: str, at: float, mark: int) -> Settled:
    """The line of a credit or a charge of one subject.

    :param number: of the line, as of a call. :param amount: nano-dollars; below 0: a credit.
    :param request: an id. :param mark: of the account that has the amount already; 0: none.
    """
    kind, _, name = subject.partition(":")
    owner, _, user = name.partition("/")
    return Settled(
        n=number,
        id=request[:MOST_NAME],
        at=at,
        key=owner if kind == "key" else "",
        team=owner if kind in ("team", "user") else "",
        user=user if kind == "user" else "",
        upstream_model=subject,
        cost=amount,
        source="adjustment",
        status=0,
        applied=(Applied(subject, mark),),
    )
