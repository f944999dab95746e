"""Colours and progress, for people at a terminal. Output into a pipe or a file gets neither."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

#: A command shows its progress when it has taken this long, seconds; then once in so many seconds.
SILENCE = 2.0
INTERVAL = 1.0

_THREAD = "progress"
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to write colours: to a terminal, unless ``NO_COLOR`` is set (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, colour: str, use: bool) -> str:
    """The text in a colour, as ANSI escape sequence (ECMA-48), if ``use`` is set."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if use else text


class ProgressLine:
    """Shows on standard error how far a command is, once it has taken two seconds.

    One within another is silent.

    :param what: the things that are done one by one, such as ``checks``; empty: there are none to count.
    :param total: how many there are; 0 if that is unknown.
    """

    def __init__(self, what: str = "", total: int = 0, stream: TextIO | None = None) -> None:
        self._what, self._total = what, total
        self._stream = sys.stderr if stream is None else stream
        self._done = 0
        self._shown = False
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, name=_THREAD, daemon=True)

    def __enter__(self) -> ProgressLine:
        if self._stream.isatty() and not any(one.name == _THREAD for one in threading.enumerate()):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._clear()

    def step(self) -> None:
        """Count one more that is done. Call it before its line is printed."""
        self._done += 1
        self._clear()

    def line(self, seconds: float) -> str:
        if not self._what:
            return f"… {seconds:.0f} s"
        of_all = f" of {self._total}" if self._total else ""
        return f"… {self._done}{of_all} {self._what} done, {seconds:.0f} s"

    def _show(self) -> None:
        wait = SILENCE
        while not self._ended.wait(wait):
            wait, self._shown = INTERVAL, True
            self._stream.write(f"\r\x1b[K{self.line(time.monotonic() - self._began)}")
            self._stream.flush()

    def _clear(self) -> None:
        """Erase the line, if one is shown."""
        if self._shown:
            self._shown = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()
