"""Keeps the pauses that an upstream has asked for, model by model.

A provider's limits are per model, so a 429 for one model pauses that model alone. Each pause is a pair of
integers behind the breaker's state (``breaker_state.py``): the digest of the model's name, and when the pause
ends, in microseconds of the store's clock. There are at most :data:`MAX_PAUSES` pairs. An upstream that
has paused more models than that at once is paused as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

#: The most models of one upstream that are paused one by one.
MAX_PAUSES = 16

#: Pairs of a model's digest and the end of its pause, one after the other.
Pauses = tuple[int, ...]


@lru_cache(maxsize=4096)
def digest_of(name: str) -> int:
    """Identify a caller or a model by an integer that every store keeps exactly; 0 for an empty name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) + 1 if name else 0


def pause_left(pauses: Pauses, now: int, model: int, longest: int) -> int:
    """Return for how many microseconds more the model is paused.

    :param longest: a pause that ends later than this from now is over: the clock was set back since.
    """
    for name, until in zip(pauses[::2], pauses[1::2], strict=True):
        if name == model and now < until <= now + longest:
            return until - now
    return 0


def pause(pauses: Pauses, now: int, model: int, until: int, longest: int) -> Pauses | None:
    """Add or prolong the pause of a model and drop those that are over; ``None`` when there is no room."""
    live = {
        name: end for name, end in zip(pauses[::2], pauses[1::2], strict=True) if now < end <= now + longest
    }
    if model not in live and len(live) >= MAX_PAUSES:
        return None
    if until > now:
        live[model] = max(until, live.get(model, 0))
    return tuple(number for pair in live.items() for number in pair)


def paused(pauses: Pauses, now: int, longest: int) -> int:
    """Count the models that are paused now."""
    return sum(now < until <= now + longest for until in pauses[1::2])
