"""Runs the conformance suite for authors of plugins on plugins of ours, good ones and bad ones."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from kit.plugins import BAD, Admitting, Login, Masked, Masking, Prefixing, Slots

from flask_gateway.model.errors import PluginFailed
from flask_gateway.testing import (
    GuardConformance,
    InspectorConformance,
    PluginConformance,
    RewriterConformance,
)


class TestLogin(PluginConformance):
    def make(self) -> object:
        return Login()


class TestAdmitting(GuardConformance):
    def make(self) -> object:
        return Admitting()


class TestSlots(GuardConformance):
    def make(self) -> object:
        return Slots()


class TestPrefixing(RewriterConformance):
    bodies: ClassVar = {'{"messages": []}': '{"messages": [{"role": "system", "content": "Be kind."}]}'}

    def make(self) -> object:
        return Prefixing()


class TestMasking(InspectorConformance):
    samples: ClassVar = {"Say AAAAA twice, and ABCDEFG once!": "Say [x] twice, and [x]FG once!", "": ""}
    blocked = (f"This is {BAD}.", BAD)

    def make(self) -> object:
        return Masking()


class Forgetful(Masking):
    """It looks at each event by itself, as the first plugins of everybody do."""

    def open(self, call: Any) -> Any:
        inspection = Masked(self)
        inspection.hold = 0
        return inspection


def test_a_mask_that_sees_one_event_at_a_time_is_found() -> None:
    suite = TestMasking()
    suite.make = Forgetful  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        suite.test_a_text_becomes_the_same_however_it_arrives()
    with pytest.raises(AssertionError):
        suite.test_a_text_is_blocked_however_it_arrives()


def test_a_rewriter_that_changes_more_than_fields_is_found() -> None:
    suite = TestPrefixing()
    suite.make = lambda: Prefixing(fault="caller")  # type: ignore[method-assign]
    with pytest.raises(PluginFailed):
        suite.test_it_changes_fields_alone()
