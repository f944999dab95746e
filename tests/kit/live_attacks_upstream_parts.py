"""Shares parts of the tests of live_attacks_upstream."""

from __future__ import annotations

PLANTED = "planted-by-the-upstream"  # in hostile.py
