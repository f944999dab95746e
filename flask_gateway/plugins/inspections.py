"""Runs the inspections of one answer, one after another, and holds them to what they declare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..model.call import Call, Outcome
from ..model.errors import GatewayError, PluginFailed, UpstreamError
from ..model.plugin_notes import PluginNotes
from .admitting import is_skipped
from .hooks import Hook
from .loaded import Loaded

#: The most characters that an inspection may hold back.
MOST_HELD = 4096
#: Text that is held back may grow when it is replaced: to twice as much, and so many characters.
SLACK = 128
#: An inspection between other streams should take no longer than this for one text, seconds.
QUICK = 0.001
#: One that takes longer than this no longer runs on the thread that serves all streams, seconds.
_TOO_LONG_FOR_RELAY = 0.01


class OneInspection:
    """The inspection of one answer by one plugin."""

    def __init__(
        self, plugin: Loaded, inspection: Any, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.plugin, self._inspection, self._clock = plugin, inspection, clock
        self._most = 0 if plugin.whole else 2 * inspection.hold + SLACK
        self._changed = self._failed = False
        self._seconds = 0.0
        #: Of each open channel the text that has not been passed on, as the model said it; ``None``: that is
        #: not known, because some was replaced.
        self._held: dict[str, str | None] = {}

    def text(self, channel: str, delta: str) -> str:
        """Return what to send for the next text of a channel.

        :raises GatewayError: the plugin blocks the answer, or it failed and fails closed.
        """
        if self._failed:
            return (self._held.pop(channel, None) or "") + delta
        held = self._held.get(channel, "")
        if self.plugin.whole:
            self._held[channel] = (held or "") + delta
            return ""
        try:
            out = self._run(self._inspection.text, channel, delta)
        except PluginFailed:
            self._failed = True
            if not self.plugin.passes:
                raise
            self._held.pop(channel, None)
            return (held or "") + delta
        if out != delta:
            self._changed = True
        self._held[channel] = _rest(held, delta, out)
        return out

    def end(self, channel: str) -> str:
        """Return what was held back of a channel that is over. Raises as :meth:`text` does."""
        if channel not in self._held:
            return ""
        held = self._held.pop(channel)
        if self._failed:
            return held or ""
        try:
            return self._whole(channel, held or "") if self.plugin.whole else self._ended(channel, held)
        except PluginFailed:
            self._failed = True
            if not self.plugin.passes:
                raise
            return held or ""

    def _whole(self, channel: str, text: str) -> str:
        out = self._run(self._inspection.text, channel, text) + self._run(self._inspection.end, channel)
        self._changed = self._changed or out != text
        return out

    def _ended(self, channel: str, held: str | None) -> str:
        out = self._run(self._inspection.end, channel)
        self._changed = self._changed or out != held
        if len(out) > self._most:
            failed = self.plugin.failure(Hook.INSPECT, f"it held back {len(out)} characters, over its 'hold'")
            if not self.plugin.passes:
                raise failed
        return out

    def _run(self, work: Callable[..., object], *args: str) -> str:
        plugin, started = self.plugin, self._clock()
        try:
            out = work(*args)
        except Exception as error:  # of code that is not ours: `on_error` decides
            self._took(started)
            if isinstance(error, GatewayError) and not isinstance(error, UpstreamError | PluginFailed):
                raise
            raise plugin.failure(Hook.INSPECT, error) from None
        self._took(started)
        if not isinstance(out, str):
            raise plugin.failure(Hook.INSPECT, f"it returned no text but {type(out).__name__}")
        return out

    def _took(self, started: float) -> None:
        """:raises PluginFailed: it was too slow again, and fails closed."""
        plugin, taken = self.plugin, self._clock() - started
        self._seconds += taken
        plugin.delays = taken > _TOO_LONG_FOR_RELAY
        if plugin.budget:
            try:
                plugin.check_budget(Hook.INSPECT, taken)
            except PluginFailed:
                if not plugin.passes:
                    raise
        elif taken > QUICK and not plugin.whole:
            plugin.tell_slow(Hook.INSPECT, taken, QUICK)

    @property
    def verdict(self) -> str:
        """A word for the header and the log."""
        if self._failed:
            return "failed"
        own = getattr(self._inspection, "verdict", None)
        if isinstance(own, str) and own and own.isascii() and own.isprintable() and "," not in own:
            return own
        return "changed" if self._changed else "unchanged"

    def settle(self) -> None:
        """Count the time of the whole answer."""
        self.plugin.took(Hook.INSPECT, self._seconds)


def _rest(held: str | None, delta: str, out: str) -> str | None:
    """The part of what the model said that was not passed on; ``None`` if that is not known."""
    if held == "" and out == delta:  # the usual case
        return ""
    said = None if held is None else held + delta
    return said[len(out) :] if said is not None and said.startswith(out) else None


class Inspections:
    """The inspections of one answer. The text of each goes through all, in the order of the settings."""

    def __init__(self, opened: Sequence[OneInspection], notes: PluginNotes) -> None:
        self._opened, self._notes = tuple(opened), notes
        #: Whether some text has passed.
        self.passed = False

    @property
    def delays(self) -> bool:
        """Whether one of them takes too long for the thread that serves all streams."""
        return any(one.plugin.delays for one in self._opened)

    def text(self, channel: str, delta: str) -> str:
        """Return what to send for the next text of a channel.

        :raises GatewayError: a plugin blocks the answer, or it failed and fails closed.
        """
        out = self._through(channel, delta, 0)
        self.passed = self.passed or bool(out)
        return out

    def end(self, channel: str) -> str:
        """Return what was held back of a channel that is over. Raises as :meth:`text` does."""
        parts = []
        for place, one in enumerate(self._opened):
            try:
                tail = one.end(channel)
            except GatewayError as error:
                self._refused(one, error)
                raise
            parts.append(self._through(channel, tail, place + 1) if tail else "")
        out = "".join(parts)
        self.passed = self.passed or bool(out)
        return out

    def whole(self, channel: str, text: str) -> str:
        """Return what to send for a text that is all of a channel. Raises as :meth:`text` does."""
        return self.text(channel, text) + self.end(channel)

    def _through(self, channel: str, text: str, first: int) -> str:
        for one in self._opened[first:]:
            try:
                text = one.text(channel, text)
            except GatewayError as error:
                self._refused(one, error)
                raise
            if not text:
                break
        return text

    def _refused(self, one: OneInspection, error: GatewayError) -> None:
        done = "failed" if isinstance(error, PluginFailed) else "blocked"
        self._notes.note(one.plugin.name, done)
        one.settle()
        self._opened = tuple(each for each in self._opened if each is not one)

    def unreadable(self) -> None:
        """The text that came out of the inspections is not what it has to be, such as JSON.

        :raises PluginFailed: one of them fails closed.
        """
        for one in self._opened:
            failed = one.plugin.failure(Hook.INSPECT, "what it returned is no JSON object")
            if not one.plugin.passes:
                self._refused(one, failed)
                raise failed

    def note(self) -> None:
        """Note what each has done so far."""
        for one in self._opened:
            self._notes.note(one.plugin.name, one.verdict)

    def settle(self, outcome: Outcome) -> None:
        """The answer is over."""
        self.note()
        for one in self._opened:
            one.settle()


def open_all(call: Call, notes: PluginNotes) -> Inspections | None:
    """Open the inspections of the answer to a call; ``None`` if no plugin inspects it.

    :raises GatewayError: a plugin blocks the call, or it failed and fails closed.
    """
    opened = []
    for plugin in notes.seeing:
        if not plugin.has(Hook.INSPECT) or is_skipped(plugin, call):
            continue
        try:
            inspection: object = plugin.run(Hook.INSPECT, plugin.instance.open, call)
            if inspection is None:
                notes.note(plugin.name, "not inspected")
                continue
            if fault := _fault(inspection, whole=plugin.whole):
                raise plugin.failure(Hook.INSPECT, fault)
        except GatewayError as error:
            notes.note(plugin.name, "failed" if isinstance(error, PluginFailed) else "blocked")
            if not (isinstance(error, PluginFailed) and plugin.passes):
                raise
            continue
        opened.append(OneInspection(plugin, inspection))
    return Inspections(opened, notes) if opened else None


def _fault(inspection: object, *, whole: bool) -> str:
    """Why this is no inspection; empty if it is one."""
    if not all(callable(getattr(inspection, name, None)) for name in ("text", "end")):
        return f"it opened no Inspection but {type(inspection).__name__}"
    hold = getattr(inspection, "hold", None)
    if not whole and (type(hold) is not int or not 0 <= hold <= MOST_HELD):
        return f"the 'hold' of its inspection is no number from 0 to {MOST_HELD}"
    return ""
