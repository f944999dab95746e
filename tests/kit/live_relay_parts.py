"""Shares parts of the tests of live_relay."""

from __future__ import annotations

from typing import Any

from kit.servers import Upstream
from kit.wire import PROMPT, ask


def asked(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream_options": {"include_usage": True},
    }


def direct(upstream: Upstream, model: str) -> bytes:
    """What the upstream itself says."""
    return ask(upstream.port, "POST", "/v1/chat/completions", asked(model)).body
