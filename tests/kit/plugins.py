"""Plugins for tests, and a gateway that has them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from flask_gateway.config.schema import PluginSettings
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.plugin_notes import PluginNotes
from flask_gateway.plugin import (
    AS_SET,
    NO_PERMIT,
    Blocked,
    Header,
    Inspection,
    Overloaded,
    Permit,
    Record,
    Unauthorized,
)
from flask_gateway.plugins.inspections import Inspections, open_all
from flask_gateway.plugins.loaded import Loaded
from flask_gateway.plugins.loading import load
from flask_gateway.testing import call_of

#: The key that :class:`Login` knows, and one that it knows as no longer valid.
TOKEN, OLD_TOKEN = "token-of-ann-123456", "token-of-bob-123456"


class Counts:
    """Counts what plugins do (``plugins.loaded.PluginCounts``)."""

    def __init__(self) -> None:
        self.ran: Counter[tuple[str, str]] = Counter()
        self.slow: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()

    def plugin_ran(self, plugin: str, hook: str, seconds: float) -> None:
        self.ran[plugin, hook] += 1

    def plugin_slow(self, plugin: str, hook: str) -> None:
        self.slow[plugin, hook] += 1

    def plugin_failed(self, plugin: str, hook: str) -> None:
        self.failed[plugin, hook] += 1


class Closing:
    """A plugin that counts how often it was made and closed."""

    made: list[Closing] = []  # noqa: RUF012  # of all instances

    def __init__(self, **options: Any) -> None:
        self.options, self.closed = options, 0
        self.made.append(self)

    def close(self) -> None:
        self.closed += 1


class Login(Closing):
    """An authenticator that knows two keys, and fails at keys that begin with ``broken``."""

    def identify(self, key: str, header: Header) -> Caller | None:
        if key.startswith("broken"):
            raise RuntimeError(f"a text that is not logged: {key}")
        if key.startswith("nonsense"):
            return "ann"  # type: ignore[return-value]
        if key == OLD_TOKEN:
            raise Unauthorized("This login has expired. Log in again.")
        return Caller("login:ann", AS_SET, team=header("x-team") or "") if key == TOKEN else None


class TeamLogin(Closing):
    """An authenticator that remembers its one caller, and says which teams it may have."""

    def __init__(self, teams: list[str]) -> None:
        super().__init__()
        self.teams = teams
        self.renew()

    def renew(self) -> None:
        self._ann = Caller("login:ann", AS_SET)

    def identify(self, key: str, header: Header) -> Caller | None:
        return self._ann if key == TOKEN else None


class Slots(Closing):
    """A guard that has some slots, and notes what becomes of each."""

    def __init__(self, slots: int = 1, *, answer: object = None, **options: Any) -> None:
        super().__init__(**options)
        self.slots, self.ends, self.answer = slots, list[str](), answer

    def admit(self, call: Call) -> Permit:
        if self.answer == "raise":
            raise RuntimeError("a text that is not logged")
        if self.answer is not None:
            return self.answer  # type: ignore[return-value]
        if not self.slots:
            raise Overloaded("No slot is free. Try again later.")
        self.slots -= 1
        return Slot(self)


class Slot:
    headers: Mapping[str, str] = {"x-slots": "some"}

    def __init__(self, guard: Slots) -> None:
        self._guard = guard

    def settle(self, outcome: Outcome) -> None:
        self._guard.slots += 1
        self._guard.ends.append(outcome.verdict.value)

    def cancel(self) -> None:
        self._guard.slots += 1
        self._guard.ends.append("cancelled")


class Admitting(Closing):
    """A guard that admits every call."""

    def admit(self, call: Call) -> Permit:
        return NO_PERMIT


class Watching(Closing):
    """An observer that keeps the records."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records: list[Record] = []

    def __call__(self, record: Record) -> None:
        self.records.append(record)
        if self.options.get("fails"):
            raise RuntimeError("a text that is not logged")


#: Stands for a text that must not be shown: one word in capitals of 5 letters, such as SECRT.
WORD = re.compile(r"[A-Z]{5}")
#: Bad words end an answer.
BAD = "forbidden"


class Masking(Closing):
    """An inspector that replaces words by ``[x]``, holds back up to four letters, and blocks a word.

    :param fault: ``raise``, ``nonsense``, ``hold everything``, ``hang``, ``open`` or ``shape``.
    """

    def __init__(
        self,
        *,
        fault: str = "",
        bad: str = BAD,
        word: str = WORD.pattern,
        whole: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.word = re.compile(word)
        self.fault, self.bad, self.whole = fault, bad, whole

    def open(self, call: Call) -> Inspection | None:
        if self.fault == "open":
            raise RuntimeError("a text that is not logged")
        if self.fault == "shape":
            return "no inspection"  # type: ignore[return-value]
        return None if call.user == "not inspected" else Masked(self)


class Masked:
    def __init__(self, plugin: Masking) -> None:
        self.hold = max(4, len(plugin.bad) - 1)
        self._plugin, self._rest, self.masked = plugin, dict[str, str](), 0

    @property
    def verdict(self) -> str:
        return f"masked({self.masked})"

    def text(self, channel: str, delta: str) -> str:
        fault = self._plugin.fault
        if fault == "raise":
            raise RuntimeError("a text that is not logged")
        if fault == "nonsense":
            return 7  # type: ignore[return-value]
        if fault == "hang":
            time.sleep(float(self._plugin.options["seconds"]))
        text = self._rest.get(channel, "") + delta
        if fault == "hold everything":
            self._rest[channel] = text
            return ""
        return self._through(channel, text, len(text) - self.hold)

    def end(self, channel: str) -> str:
        text = self._rest.pop(channel, "")
        return text if self._plugin.fault == "hold everything" else self._through(channel, text, len(text))

    def _through(self, channel: str, text: str, sure: int) -> str:
        """Return what is sure: words that begin before that place, and what is before it."""
        if self._plugin.bad in text:
            raise Blocked("This answer is not for you. Ask something else.")
        parts, place = [], 0
        for found in self._plugin.word.finditer(text):
            parts += (text[place : found.start()], "[x]")
            place, self.masked = found.end(), self.masked + 1
        sure = max(place, sure)
        self._rest[channel] = text[sure:]
        return "".join(parts) + text[place:sure]


class Prefixing(Closing):
    """A rewriter that puts a message before those of the caller.

    :param fault: what goes wrong.
    """

    def __init__(self, *, fault: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.fault = fault

    def rewrite(self, call: Call) -> Call:
        if self.fault == "raise":
            raise RuntimeError("a text that is not logged")
        if self.fault == "block":
            raise Blocked("You may not ask that. Ask something else.")
        changes: dict[str, Any] = {
            "nonsense": None,
            "caller": msgspec.structs.replace(call, caller=Caller("admin", 0)),
            "model": call.with_fields(model="expensive"),
            "stream": call.with_fields(stream=True),
            "text": msgspec.structs.replace(call, fields={**call.fields, "user": "ann"}),
            "json": msgspec.structs.replace(call, fields={**call.fields, "user": msgspec.Raw(b"{")}),
            "same": call,
        }
        if self.fault in changes:
            return changes[self.fault]  # type: ignore[no-any-return]
        messages = call.decoded("messages", 1 << 20)
        system = {"role": "system", "content": "Be kind."}
        return call.with_fields(messages=[system, *messages])


class Versioned(Admitting):
    api = 2


class Hookless:
    """No plugin: it has no hook."""


class Sleeping(Admitting):
    """A guard that takes its time."""

    def admit(self, call: Call) -> Permit:
        time.sleep(float(self.options.get("seconds", 0.0)))
        return NO_PERMIT


def made_by_function() -> Admitting:
    return Admitting()


def unmade(**options: Any) -> None:
    """A constructor that fails, and repeats its options."""
    raise ValueError(f"no such option: {options}")


def plugin(use: str, name: str = "p", **changes: Any) -> PluginSettings:
    """The table of a plugin of this module."""
    use = use if ":" in use or use.islower() else f"kit.plugins:{use}"
    return msgspec.structs.replace(PluginSettings(name=name, use=use), **changes)


def loaded(use: str, counts: Counts | None = None, **changes: Any) -> Loaded:
    return load(plugin(use, **changes), counts or Counts())


def inspections(*plugins: Loaded) -> Inspections:
    """The inspections of one answer by those plugins; by :class:`Masking`, unless said."""
    notes = PluginNotes(plugins or (load(plugin("Masking", options={"bad": "zz"}), Counts()),))
    opened = open_all(call_of(), notes)
    assert opened is not None
    return opened
