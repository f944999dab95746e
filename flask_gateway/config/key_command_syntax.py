"""Defines ``api_key_command``: the command that prints an upstream's key, and how long a key is used."""

from __future__ import annotations

import shutil

from .errors import InvalidValue
from .secrets import Masked

#: The most words of a command, and the longest, characters.
MOST_WORDS, LONGEST_WORD = 32, 1024


class CommandWords(Masked, frozen=True):
    """A command as a list of words, which may be secrets."""

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            raise InvalidValue(self.expected, "no shell reads it: write each word as a text of the list")
        if not isinstance(value, list) or not 0 < len(value) <= MOST_WORDS:
            raise InvalidValue(self.expected)
        for word in value:
            if not isinstance(word, str) or "\0" in word or len(word) > LONGEST_WORD:
                raise InvalidValue(self.expected)
        if not value[0].strip() or not value[0].isprintable():
            raise InvalidValue(self.expected, "the first word is the program")
        return tuple(value)


def is_missing(program: str) -> bool:
    """Whether this machine has no such program, on the ``PATH`` or at that path."""
    return shutil.which(program) is None
