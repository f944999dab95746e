"""Runs a command under the system calls that a systemd unit allows: ``confined.py UNIT COMMAND …``.

Sets the same filters as systemd (SystemCallFilter=, SystemCallErrorNumber=EPERM, MemoryDenyWriteExecute=)
with the same library, so that no systemd has to run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
#: SCMP_CMP_MASKED_EQ, and PROT_EXEC, PROT_WRITE | PROT_EXEC.
MASKED, EXEC, WRITE_EXEC = 7, 4, 6


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp`` of seccomp.h."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def members(group: str) -> set[str]:
    """The system calls of a group such as ``@resources``."""
    output = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True
    ).stdout
    names = [line.strip() for line in output.splitlines()[1:] if not line.strip().startswith("#")]
    return set().union(*(members(name) if name.startswith("@") else {name} for name in names if name))


def allowed(unit: str) -> set[str]:
    """The system calls that ``SystemCallFilter=`` allows. The first line adds; lines with ``~`` remove."""
    calls: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        words = line.lstrip("~").split()
        named = set().union(*(members(word) if word.startswith("@") else {word} for word in words))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


class Filter:
    """A filter of libseccomp. Each rule adds one system call to the default action."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._filter = ctypes.c_void_p(self._library.seccomp_init(default))

    def add(self, action: int, calls: Iterable[str], *comparisons: Comparison) -> None:
        array = (Comparison * max(1, len(comparisons)))(*comparisons)
        for number in self._numbers(calls):
            done = self._library.seccomp_rule_add_array(self._filter, action, number, len(comparisons), array)
            if done < 0:
                raise OSError(-done, os.strerror(-done))

    def _numbers(self, calls: Iterable[str]) -> Iterator[int]:
        """Add a rule. Negative numbers mean that this machine lacks the system call."""
        for call in calls:
            number = self._library.seccomp_syscall_resolve_name(call.encode())
            if number >= 0:
                yield number

    def load(self) -> None:
        done = self._library.seccomp_load(self._filter)
        if done < 0:
            raise OSError(-done, os.strerror(-done))


def confine(unit: str) -> None:
    calls = allowed(unit)
    if "MemoryDenyWriteExecute=yes" in unit:
        memory = Filter(ALLOW)
        memory.add(REFUSE, ["mmap"], Comparison(2, MASKED, WRITE_EXEC, WRITE_EXEC))
        memory.add(REFUSE, ["mprotect", "pkey_mprotect"], Comparison(2, MASKED, EXEC, EXEC))
        memory.load()
    rest = Filter(REFUSE)
    rest.add(ALLOW, calls)
    rest.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text())
    os.execvp(sys.argv[2], sys.argv[2:])
