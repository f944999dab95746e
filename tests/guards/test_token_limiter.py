"""The limit of tokens per minute: reserved, corrected, cancelled, told, over threads and subjects."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call
from kit.stores import HandClock
from kit.waiting import until

from flask_gateway.guards.allotments import BUSY, CALLS, LASTS
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.guards.token_limiter import TokenLimiter, tokens_left
from flask_gateway.guards.token_returns import KEPT
from flask_gateway.guards.token_window import GRAINS
from flask_gateway.model.call import Call, Outcome, Usage
from flask_gateway.model.errors import CallerLeft, TokensUsedUp, UpstreamTimeout, Verdict
from flask_gateway.model.limits import CallLimits, Limits, SubjectLimits
from flask_gateway.model.protocols import Permit
from flask_gateway.reactor.while_any import WhileAny
from flask_gateway.state.memory import MemoryStore

MESSAGES = [{"role": "user", "content": "x" * 370}]  # 400 bytes with what is around it: 100 tokens


def call(*limits: tuple[str, int], **fields: Any) -> Call:
    """A call that needs 100 tokens and what it allows, of subjects with those limits."""
    subjects = tuple(SubjectLimits(name, Limits(tokens=limit)) for name, limit in limits)
    made = make_call(messages=MESSAGES, **fields)
    return msgspec.structs.replace(made, limits=CallLimits(subjects))


def used(prompt: int, answer: int) -> Outcome:
    return Outcome(Verdict.SUCCESS, Usage(prompt, answer))


@pytest.fixture
def limiter(store: MemoryStore) -> TokenLimiter:
    return TokenLimiter(store, Estimates())


def left(limiter: TokenLimiter, limit: int = 1000) -> int:
    """The tokens that are left, by the headers of a call that is cancelled."""
    permit = limiter.admit(call(("key:web", limit), max_tokens=1))
    permit.cancel()
    return int(permit.headers["x-ratelimit-remaining-tokens"])


def test_a_call_reserves_its_estimate_and_corrects_it(limiter: TokenLimiter) -> None:
    permit = limiter.admit(call(("key:web", 1000), max_tokens=300))
    assert permit.headers == {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "600",
        "x-ratelimit-reset-tokens": permit.headers["x-ratelimit-reset-tokens"],
    }
    assert left(limiter) == 600
    for _ in range(2):
        permit.settle(used(90, 60))
    assert left(limiter) == 850


def test_tokens_beyond_the_estimate_count(limiter: TokenLimiter) -> None:
    limiter.admit(call(("key:web", 2000), max_tokens=300)).settle(used(100, 900))
    assert left(limiter, 2000) == 1000


def test_too_few_left_is_refused_with_the_wait(limiter: TokenLimiter, clock: HandClock) -> None:
    limiter.admit(call(("key:web", 1000), max_tokens=800))
    clock.advance(10)
    with pytest.raises(TokensUsedUp) as caught:
        limiter.admit(call(("key:web", 1000), max_tokens=100))
    error = caught.value
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "tokens")
    assert error.retry_after is not None
    assert 50 <= error.retry_after <= 50.5
    assert "100 are left" in error.message
    assert error.headers["x-ratelimit-remaining-tokens"] == "100"
    assert "x-should-retry" not in error.headers
    clock.advance(error.retry_after)
    limiter.admit(call(("key:web", 1000), max_tokens=100))


def test_more_than_the_whole_limit_is_refused_for_good(limiter: TokenLimiter) -> None:
    with pytest.raises(TokensUsedUp) as caught:
        limiter.admit(call(("team:search", 1000), max_tokens=901))
    assert caught.value.retry_after is None
    assert caught.value.headers["x-should-retry"] == "false"
    assert "The team 'search' may use 1000 tokens" in caught.value.message


def test_all_subjects_must_have_room_and_a_refusal_costs_none(
    limiter: TokenLimiter, store: MemoryStore
) -> None:
    both = (("key:web", 1000), ("team:search", 500))
    permit = limiter.admit(call(*both, max_tokens=100))
    assert permit.headers["x-ratelimit-limit-tokens"] == "500"  # of the one with the fewest left
    before = sorted(store.scan(""))
    with pytest.raises(TokensUsedUp, match="The team 'search'"):
        limiter.admit(call(*both, max_tokens=250))
    assert sorted(store.scan("")) == before


def test_a_failed_call_costs_nothing_and_one_whose_caller_left_its_prompt(limiter: TokenLimiter) -> None:
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(
        Outcome.of_error(UpstreamTimeout("slow", upstream="llama"))
    )
    assert left(limiter) == 1000
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(Outcome.of_error(CallerLeft("left")))
    assert left(limiter) == 1000  # no upstream was asked
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(
        Outcome.of_error(CallerLeft("left", upstream="llama"))
    )
    assert left(limiter) == 900


def test_calls_without_a_limit_of_tokens_leave_no_trace(limiter: TokenLimiter, store: MemoryStore) -> None:
    for one in (make_call(), call(("key:web", 0))):
        assert limiter.admit(one).headers == {}
    assert list(store.scan("")) == []


def test_threads_never_pass_the_limit(limiter: TokenLimiter) -> None:
    """200 tokens each of 5000: exactly 25 are let in."""
    admitted: list[Permit] = []

    def work() -> None:
        for _ in range(20):
            try:
                admitted.append(limiter.admit(call(("all", 5000), max_tokens=100)))
            except TokensUsedUp:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 25


#: Seconds until the next call, tokens that it allows, tokens of its answer, and which calls settle first.
_runs = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 400), st.integers(0, 400), st.integers(0, 5)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(_runs)
def test_admissions_of_a_minute_are_within_the_limit_but_for_settlements(
    steps: list[tuple[float, int, int, int]],
) -> None:
    """Law 6. The tokens in force at an admission are those of the last minute, as corrected so far."""
    clock, limit = HandClock(), 1000
    limiter = TokenLimiter(MemoryStore(clock), Estimates())
    counted: list[list[float]] = []  # moment, tokens
    open_calls: list[tuple[Permit, list[float], int]] = []
    for seconds, allowed, answer, first in steps:
        clock.advance(seconds)
        now = clock.micros / 1e6
        if open_calls and first < len(open_calls):
            permit, entry, size = open_calls.pop(first)
            permit.settle(used(100, size))
            entry_more = 100 + size - entry[1]
            entry[1] = min(entry[1], 100 + size)
            if entry_more > 0:
                counted.append([now, entry_more])
        try:
            permit = limiter.admit(call(("key:web", limit), max_tokens=allowed))
        except TokensUsedUp:
            in_force = sum(tokens for moment, tokens in counted if moment > now - 60.47)
            assert in_force + 100 + allowed > limit
        else:
            counted.append([now, 100 + allowed])
            assert sum(tokens for moment, tokens in counted if moment > now - 60) <= limit
            open_calls.append((permit, counted[-1], answer))


# ---------------------------------------------------------------- tokens that go back a bit later


def remaining(store: MemoryStore, limit: int = 1000) -> int:
    """The tokens that are left by the store, as another worker sees them."""
    return tokens_left(store, "key:web", limit).remaining


def test_tokens_that_were_not_used_go_back_with_the_next_reservation(
    limiter: TokenLimiter, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    for _ in range(3):
        limiter.admit(call(("key:web", 1000), max_tokens=100)).settle(used(90, 60))
    assert remaining(store) == 1000 - 2 * 150 - 200  # the last call's 50 are still to come
    permit = limiter.admit(call(("key:web", 1000), max_tokens=100))
    assert permit.headers["x-ratelimit-remaining-tokens"] == "350"
    assert remaining(store) == 350


def test_a_refused_call_gives_them_back_too(
    limiter: TokenLimiter, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(used(90, 60))
    with pytest.raises(TokensUsedUp) as caught:
        limiter.admit(call(("key:web", 1000), max_tokens=800))
    assert caught.value.headers["x-ratelimit-remaining-tokens"] == "850"
    assert remaining(store) == 850


def test_without_another_call_they_go_back_within_a_grain(limiter: TokenLimiter, store: MemoryStore) -> None:
    assert KEPT < 60 / GRAINS
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(used(90, 60))
    assert until(lambda: remaining(store) == 850)


def test_without_a_thread_they_go_back_at_once(
    limiter: TokenLimiter, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    limiter.admit(call(("key:web", 1000), max_tokens=300)).settle(used(90, 60))
    assert remaining(store) == 850


def test_no_tokens_are_lost_between_threads(limiter: TokenLimiter, store: MemoryStore) -> None:
    """At the end exactly the used ones count."""

    def work() -> None:
        for _ in range(50):
            limiter.admit(call(("key:web", 10**6), max_tokens=300)).settle(used(1, 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert until(lambda: remaining(store, 10**6) == 10**6 - 400)


def test_a_busy_process_draws_on_tokens_of_one_grain(
    limiter: TokenLimiter, store: MemoryStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    now, limit = [1000.0], 10**9
    limiter._allotments.clock = lambda: now[0]
    clock.micros = 10 * limiter._window  # a grain begins

    def admit() -> Permit:
        return limiter.admit(call(("key:web", limit), max_tokens=100))

    permits = [admit() for _ in range(BUSY)]
    value = store.read("tokens:key:web")
    permits += [admit() for _ in range(20)]
    assert store.read("tokens:key:web") == value
    shown = [int(permit.headers["x-ratelimit-remaining-tokens"]) for permit in permits]
    behind = limit - 200 * (BUSY + CALLS)
    assert shown == [limit - 200 * number for number in range(1, BUSY)] + [behind] * 21
    for permit in permits[BUSY:]:
        permit.settle(used(100, 50))  # 50 less than it reserved
    assert store.read("tokens:key:web") == value
    now[0] += LASTS
    clock.advance(LASTS)
    limiter._allotments.end_old()
    limiter._returns.flush()
    left = tokens_left(store, "key:web", limit).remaining
    assert left == limit - BUSY * 200 - 20 * 150
    clock.advance(60.5)
    assert tokens_left(store, "key:web", limit).remaining == limit


def test_an_allotment_of_tokens_ends_with_its_grain(
    limiter: TokenLimiter, store: MemoryStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens count from the end of their grain. One that was drawn later would count for too short."""
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    now, limit = [1000.0], 10**9
    limiter._allotments.clock = lambda: now[0]
    clock.micros = 10 * limiter._window - 50_000  # a grain ends in 50 ms
    for _ in range(BUSY + 1):
        limiter.admit(call(("key:web", limit), max_tokens=100))
    assert limiter._allotments.current("tokens:key:web") is not None
    now[0] += 0.051
    clock.advance(0.051)
    assert limiter._allotments.current("tokens:key:web") is None
    (reserved,) = limiter.admit(call(("key:web", limit), max_tokens=100)).reserved  # type: ignore[attr-defined]
    assert reserved.quota.stamp > 10 * limiter._window
