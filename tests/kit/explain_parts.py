"""Shares parts of the tests of explain."""

from __future__ import annotations

from flask_gateway.config.schema import CandidateSettings


def one(upstream: str, model: str = "m") -> tuple[CandidateSettings, ...]:
    return (CandidateSettings(upstream=upstream, model=model),)
