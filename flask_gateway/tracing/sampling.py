"""Decides which finished requests become traces: tail sampling, by pure functions.

Spans are made when everything is known. So every failure is kept, every failover and every slow request. Of
the others the configured sampler keeps its share.
"""

from __future__ import annotations

from ..config.traces import TraceSettings
from ..telemetry.request_record import RequestRecord

#: The bits of a trace id that the ratio decides by (the specification's ``TraceIdRatioBased``).
_LOW = (1 << 64) - 1


def is_kept(record: RequestRecord, settings: TraceSettings, slow: float) -> bool:
    """Whether a request becomes a trace.

    :param slow: seconds from which on a request always does; 0: never for that reason.
    """
    if record.status >= 400 or record.code is not None or len(record.attempts) > 1:
        return True
    if slow and record.seconds >= slow:
        return True
    parent = record.ids.traceparent
    return is_sampled(parent[3:35], parent[53:55] if record.ids.parent else "", settings)


def is_sampled(trace: str, flags: str, settings: TraceSettings) -> bool:
    """Whether the sampler keeps a trace, by what is known at its beginning.

    :param trace: its id, 32 hexadecimal digits.
    :param flags: of the caller's ``traceparent``, 2 hexadecimal digits; empty if the trace begins here.
    """
    kind = settings.sampler
    if kind.startswith("parentbased_"):
        if flags:
            return bool(int(flags, 16) & 1)
        kind = kind.removeprefix("parentbased_")
    if kind == "traceidratio":
        return int(trace, 16) & _LOW < round(settings.ratio * (_LOW + 1))
    return kind == "always_on"
