"""Parses the paths of an upstream that callers may ask for as they are."""

from __future__ import annotations

import re

from ..model.raw_path import RawPath, is_path
from .errors import InvalidValue
from .value_types import BaseType

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: The most patterns of an upstream. Each is a label of metrics.
MAX_PATTERNS = 64
_PATTERN = re.compile(rf"({'|'.join(METHODS)}) (\S+)").fullmatch


class RawPaths(BaseType, frozen=True):
    """A list of patterns; in the file only."""

    def check(self, value: object) -> tuple[RawPath, ...]:
        if not isinstance(value, list) or len(value) > MAX_PATTERNS:
            raise InvalidValue(self.expected)
        return tuple(dict.fromkeys(map(self._pattern, value)))

    def _pattern(self, entry: object) -> RawPath:
        match = _PATTERN(entry) if isinstance(entry, str) else None
        if match is None or not is_path(match[2].replace("*", "x")):
            raise InvalidValue(self.expected)
        return RawPath(match[1], match[2])
