"""Makes the calls of requests that go to one upstream as they are."""

from __future__ import annotations

import msgspec

from ..model.call import Call, Operation
from ..model.direct import Direct
from ..model.limits import CallLimits
from ..model.spend import Spend
from .call_limits import limits_of
from .client_timeouts import TIMEOUT_HEADERS, client_timeout
from .request_state import RequestState
from .request_tags import HEADER, tags_of


def direct_call(
    state: RequestState,
    operation: Operation,
    direct: Direct,
    model: str,
    *,
    stream: bool,
    upstream: str | None = None,
) -> Call:
    """The call of a request without a model.

    :param model: what prices, limits and keys call such requests.
    :param stream: whether the answer is passed as it comes.
    :param upstream: may answer; ``None``: the one that holds the state, and the request costs nothing.
    """
    gateway, caller, header = state.gateway, state.known, state.header
    longest = gateway.longest
    if not state.request.environ.keys().isdisjoint(TIMEOUT_HEADERS):
        longest = min(longest, client_timeout(header, stream=stream))
    user, limits = limits_of(caller, model, header, {}, gateway.accounting)
    costs = upstream is not None
    call = Call(
        ids=state.ids,
        caller=caller,
        operation=operation,
        model=model,
        fields={},
        stream=stream,
        started=state.started,
        started_ns=state.started_ns,
        deadline=state.started + longest,
        fallbacks=(),
        user=user,
        limits=limits if costs or limits is None else _of_requests(limits),
        direct=direct,
        pinned=upstream,
    )
    if not costs or gateway.accounting is None:
        return call
    tags = tags_of(caller, header(HEADER)) if caller.request_tags else caller.tags
    return msgspec.structs.replace(call, spend=Spend(tags=tags, model=model))


def _of_requests(limits: CallLimits) -> CallLimits:
    """The limits of a request that uses no tokens and costs nothing."""
    kinds = limits.sorted or limits.by_kind()
    return CallLimits(limits.subjects, None, False, kinds._replace(tokens=(), budgets=()))
