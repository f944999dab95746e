"""Keeps the keys that commands print (``api_key_command``), and renews them before they expire.

One thread of the process runs the commands, so no call waits for one, except for a first key. A key that has
expired while its command fails stays in use: the upstream's refusal says more than none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ..config.kinds import KeyCommand
from ..config.schema import UpstreamSettings
from ..model.errors import TELL_OPERATOR, UpstreamKeyMissing
from ..reactor import Periodic
from .key_command import KeyCommandFailed, PrintedKey, run_key_command

log = logging.getLogger(__name__)

#: Between two looks at what is due, seconds.
PERIOD = 1.0
#: The longest that a call waits for a first key, seconds.
FIRST = 5.0
#: A key is renewed after this share of its lifetime, and at the latest this many seconds before its end.
SHARE, BEFORE = 0.75, 60.0
#: After a failure the command is run again after this many seconds, doubled each time up to the second.
AGAIN, MOST_AGAIN = 5.0, 60.0
#: After an upstream has refused a key, the next one is made, this many seconds after the last at the soonest.
AFTER_REFUSAL = 30.0

Run = Callable[[Sequence[str]], PrintedKey]


class RenewedKey:
    """The key of one command.

    :param run: runs it; raises :class:`~.key_command.KeyCommandFailed`.
    :param clock: seconds.
    """

    def __init__(
        self, command: KeyCommand, run: Run = run_key_command, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command, self._run, self._clock = command, run, clock
        self._key: str | None = None
        self._due, self._ran = 0.0, -AFTER_REFUSAL
        self._failures = 0
        self._tried = threading.Event()

    def current(self, upstream: str) -> str:
        """The key. It waits up to ``FIRST`` for a first one.

        :raises UpstreamKeyMissing: there is none yet.
        """
        key = self._key
        if key is None:
            self._tried.wait(FIRST)
            key = self._key
        if key is None:
            text = f"The gateway has no key for upstream '{upstream}': its api_key_command gave none."
            raise UpstreamKeyMissing(f"{text} {TELL_OPERATOR}", upstream=upstream)
        return key

    def refused(self, key: str) -> None:
        """The upstream has refused the key: renew it soon, unless that has just been done."""
        if key == self._key:
            self._due = min(self._due, self._ran + AFTER_REFUSAL)

    def renew(self, upstream: str) -> None:
        """Run the command if that is due."""
        if self._clock() < self._due:
            return
        self._ran = self._clock()
        try:
            printed = self._run(self._command.arguments)
        except KeyCommandFailed as error:
            self._fail(upstream, str(error))
        else:
            self._succeed(upstream, printed)
        self._tried.set()

    def _succeed(self, upstream: str, printed: PrintedKey) -> None:
        lifetime = self._command.seconds if printed.lifetime is None else printed.lifetime
        self._key = printed.key
        self._due = self._clock() + max(AGAIN, min(SHARE * lifetime, lifetime - BEFORE))
        if self._failures:
            log.warning("api_key_command of upstream '%s' gives a key again", upstream)
        self._failures = 0

    def _fail(self, upstream: str, reason: str) -> None:
        kept = "has no key" if self._key is None else "goes on with the last key"
        if not self._failures:
            log.warning("api_key_command of upstream '%s' failed: %s (it %s)", upstream, reason, kept)
        self._due = self._clock() + min(MOST_AGAIN, AGAIN * 2 ** min(self._failures, 10))
        self._failures += 1


def _command_of(upstream: UpstreamSettings) -> KeyCommand | None:
    """The command of an upstream. A mock needs no key."""
    return None if upstream.url.startswith("mock:") else upstream.key_command


class RenewedKeys:
    """The keys of all upstreams that have a command, and the thread that renews them."""

    def __init__(self, run: Run = run_key_command) -> None:
        self._run = run
        self._keys: dict[KeyCommand, tuple[str, RenewedKey]] = {}
        self._thread = Periodic("keys of upstreams", PERIOD, self.renew)
        self._started = False

    def change(self, upstreams: Sequence[UpstreamSettings]) -> None:
        """Renew the keys of these upstreams from now on. Those of commands that stay are kept."""
        known: Mapping[KeyCommand, tuple[str, RenewedKey]] = self._keys
        commands = {command: one.name for one in upstreams if (command := _command_of(one)) is not None}
        self._keys = {
            command: known.get(command) or (name, RenewedKey(command, self._run))
            for command, name in commands.items()
        }
        if self._started:
            self.start()

    def of(self, upstream: UpstreamSettings) -> RenewedKey | None:
        """The key of an upstream; ``None``: it has no command."""
        command = _command_of(upstream)
        return None if command is None else self._keys[command][1]

    def start(self) -> None:
        """Start the thread if there is a command. Call it after the fork."""
        self._started = True
        if self._keys:
            self._thread.start()
            self._thread.call_soon()

    def renew(self) -> None:
        """Run the commands that are due, one after another."""
        for name, key in list(self._keys.values()):
            key.renew(name)
