"""Shows what is used, held and left of each limit of a key and its team, or of one other subject."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..guards.bulkhead import caller_slots, subject_slots
from ..guards.sliding_window import Quota
from ..guards.token_limiter import tokens_left
from ..model.calendar_windows import Window
from ..model.call import Caller
from ..model.limits import Budget, Limits
from ..model.money import dollars
from ..model.spend import BooksUnknown
from ..state.store import SECOND

if TYPE_CHECKING:
    from ..guards.account_changes import AccountView
    from .build import Gateway

#: The windows whose spend is shown.
_WINDOWS = tuple(Window)


def usage_of_caller(gateway: Gateway, caller: Caller, *, money: bool) -> list[dict[str, Any]]:
    """Return an entry for each subject of a key and its team that has limits, the key first.

    :param money: whether budgets are shown.
    """
    own = {}
    if caller.rate_limit:
        own["requests"] = _of_quota(gateway.limiter.quota(caller))
    if caller.max_concurrent:
        taken = gateway.leases.taken(caller_slots(caller.id))
        own["concurrent"] = _of_count(caller.max_concurrent, taken)
    subject = f"key:{caller.id}"
    shown: dict[str, dict[str, Any]] = {subject: {"subject": subject, **own}}
    for named, limits in caller.owners.of_owners() if caller.owners else ():
        entry = shown.setdefault(named, {"subject": named})
        entry.update(_of_limits(gateway, named, limits, money=money))
    return [entry for entry in shown.values() if len(entry) > 1]


def usage_of_subject(gateway: Gateway, subject: str, limits: Limits) -> dict[str, Any]:
    """Return what is used of the limits of one subject, by their names."""
    return dict(_of_limits(gateway, subject, limits, money=True))


def spend_of(gateway: Gateway, subject: str) -> dict[str, str] | None:
    """Return what a subject has spent in the present windows, US dollars; ``None`` if that is not known."""
    if gateway.accounting is None:
        return None
    try:
        view = gateway.accounting.accounts.view(subject)
    except BooksUnknown:
        return None
    return {window.value: dollars(used) for window, used in zip(_WINDOWS, view.used, strict=True)}


def _of_limits(gateway: Gateway, subject: str, limits: Limits, *, money: bool) -> Iterator[tuple[str, Any]]:
    if limits.requests:
        yield "requests", _of_quota(gateway.limiter.quota_of_subject(subject, limits.requests))
    if limits.tokens:
        quota = tokens_left(gateway.store, subject, limits.tokens)
        yield "tokens", _window(limits.tokens, quota.remaining, quota.reset)
    if limits.concurrent:
        yield "concurrent", _of_count(limits.concurrent, gateway.leases.taken(subject_slots(subject)))
    if limits.budgets and money:
        yield "budgets", list(_budgets(gateway, subject, limits.budgets))


def _of_quota(quota: Quota) -> dict[str, Any]:
    return _window(quota.limit, quota.remaining, quota.reset)


def _window(limit: int, left: int, reset: int) -> dict[str, Any]:
    """A limit of any 60 seconds. :param reset: microseconds until nothing of it is used."""
    return {"limit": limit, "used": limit - left, "left": left, "reset_seconds": round(reset / SECOND, 3)}


def _of_count(limit: int, taken: int) -> dict[str, Any]:
    return {"limit": limit, "used": taken, "left": max(0, limit - taken)}


def _budgets(gateway: Gateway, subject: str, budgets: tuple[Budget, ...]) -> Iterator[dict[str, Any]]:
    accounting = gateway.accounting
    assert accounting is not None  # budgets without a ledger are refused
    accounts = accounting.accounts
    try:
        view: AccountView | None = accounts.view(subject)
    except BooksUnknown:
        view = None
    for budget in budgets:
        end = accounts.calendar.window(budget.window, accounts.clock()).end
        shown = {"window": budget.window.value, "limit": dollars(budget.amount), "strict": budget.strict}
        yield {**shown, **_money(view, budget), "resets_at": None if budget.window is Window.TOTAL else end}


def _money(view: AccountView | None, budget: Budget) -> dict[str, str | None]:
    """The money used, held and left of a budget; ``None`` where the ledger cannot be read."""
    if view is None:
        return {"used": None, "held": None, "left": None}
    used = view.used[_WINDOWS.index(budget.window)]
    left = max(0, budget.amount - used - view.held)
    return {"used": dollars(used), "held": dollars(view.held), "left": dollars(left)}
