"""Plugins for tests, and a gateway that has them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from flask_gateway.config.schema import PluginSettings
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.plugin import AS_SET, NO_PERMIT, Header, Overloaded, Permit, Record, Unauthorized
from flask_gateway.plugins.loaded import Loaded
from flask_gateway.plugins.loading import load

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
