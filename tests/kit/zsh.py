"""Has zsh complete command lines, at a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import time
from collections.abc import Sequence
from pathlib import Path

from flask_gateway.reactor.socket_io import is_readable
from kit.waiting import PATIENCE

#: The keys for the beginning and the end of a line.
HOME, END = "\x01", "\x05"


def completed(folder: Path, lines: Sequence[str]) -> list[str]:
    """Each line after a TAB, as zsh has it then.

    :param folder: has the completion functions.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "PS1": ""}
        os.execvpe("zsh", ["zsh", "-f", "-i"], environ)
    try:
        _type(terminal, f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -D -u; print LI''NE:\r")
        _answer(terminal)
        found = []
        for line in lines:
            _type(terminal, f"{line}\t{HOME}print -r -- 'LI''NE:{END}'\r")
            found.append(_answer(terminal))
        return found
    finally:
        os.close(terminal)  # hangs up, which ends the shell
        os.waitpid(pid, 0)


def _type(terminal: int, keys: str) -> None:
    os.write(terminal, keys.encode())


def _answer(terminal: int) -> str:
    """The text behind ``LINE:`` in the next line of output that begins so."""
    said, until = b"", time.monotonic() + PATIENCE
    while not (match := re.search(rb"(?m)^(?:\x1b\S*)?LINE:(.*?)\r?\n", said)):
        assert time.monotonic() < until, said
        if is_readable(terminal, 0.1):
            said += os.read(terminal, 65536)
    return match[1].decode()
