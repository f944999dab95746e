"""Limits the structure of a JSON body: its depth, its names and parts, its numbers.

The upstream will parse the whole body. We reject nesting, key counts and numbers that no model request
needs, before they can hurt its parser, which may recurse or hash names. Strings are nearly all of a body, and
the check skips them.
"""

from __future__ import annotations

import math
import re

from ..model.errors import InvalidJson
from ..model.large_json import SLICE, Texts, slices

#: Nesting depth of lists and objects.
MAX_DEPTH = 64
#: Names in one object.
MAX_NAMES = 10_000
#: In the whole body: strings plus names; lists plus objects plus names; numbers with an exponent.
MAX_PARTS = 100_000
#: Digits in a row in a number. The largest double has 309 before the decimal point.
MAX_DIGITS = 309

#: A body of so few bytes cannot have more than ``MAX_NAMES`` names or ``MAX_PARTS`` parts.
SHORT = 4096

_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{}:"))
_INNERMOST = re.compile(rb"\[:*+\]")
_TOO_MANY_NAMES = b":" * (MAX_NAMES + 1)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * (MAX_DIGITS + 1)
_EXPONENT = re.compile(rb"[eE]\+?[0-9]++")
_MANTISSA = b"0123456789."
#: The characters of numbers and literals, which may continue in the next slice, and the longest we keep.
_WORDS, _LONGEST = b"0123456789.+-Eaeflnrstu", 3 * MAX_DIGITS


def check_shape(body: bytes) -> None:
    """Check that an upstream can safely parse a body.

    :param body: JSON. Invalid JSON may pass, and takes no longer; the parser reports it.
    :raises InvalidJson: a limit is exceeded.
    """
    if _is_plainly_fit(body):
        return
    shape = _Shape()
    for piece in (body,) if len(body) <= SLICE else slices(body):
        shape.add(piece)
    shape.end()


def _is_plainly_fit(body: bytes) -> bool:
    """Whether a short body is within all limits even if its strings are counted, as most are."""
    if len(body) > SHORT or body.count(b"[") + body.count(b"{") >= MAX_DEPTH:
        return False
    zeros = body.translate(_DIGITS)
    return zeros.find(b"0e") < 0 and zeros.find(b"0E") < 0 and zeros.find(_TOO_MANY_DIGITS) < 0


class _Shape:
    """Collects the structure of a body, slice by slice."""

    def __init__(self) -> None:
        self._texts = Texts()
        #: A bracket for each begin and end of a list or object, a colon for each name.
        self._structure: list[bytes] = []
        self._parts = self._exponents = 0
        #: The end of the last slice, if a number may continue in the next.
        self._unfinished = b""

    def add(self, piece: bytes) -> None:
        texts, inside = self._texts, self._texts.inside
        pieces = texts.split(piece, 2 * MAX_PARTS + 1 - texts.quotes)
        if texts.quotes > 2 * MAX_PARTS:
            raise _too_many_parts()
        outside = b"".join(pieces[inside::2])
        if not outside:
            return
        structure = outside.translate(_TO_BRACKETS, _NOT_STRUCTURE)
        self._structure.append(structure)
        self._parts += len(structure)
        if self._parts > 2 * MAX_PARTS:
            raise _too_many_parts()
        outside = self._unfinished + outside
        complete = outside.rstrip(_WORDS)
        self._unfinished = outside[len(complete) :]
        if len(self._unfinished) > _LONGEST:  # too long for a number
            complete, self._unfinished = outside, b""
        self._check_numbers(complete)

    def end(self) -> None:
        if self._unfinished:
            self._check_numbers(self._unfinished)
        _check_nesting(b"".join(self._structure))

    def _check_numbers(self, outside: bytes) -> None:
        """Reject numbers that overflow a double, which some parsers read as infinity and others refuse, and
        long integers, which are slow to parse.

        :param outside: a part of the body without its strings.
        """
        if len(outside) > MAX_DIGITS and _TOO_MANY_DIGITS in outside.translate(_DIGITS):
            raise InvalidJson(
                f"The body has a number of more than {MAX_DIGITS} digits. Send it with fewer, or as text."
            )
        exponents = outside.count(b"e") + outside.count(b"E")
        if exponents:  # literals and negative exponents are harmless
            exponents -= sum(map(outside.count, (b"true", b"false", b"e-", b"E-")))
        self._exponents += exponents
        if self._exponents > MAX_PARTS:
            raise _too_many_parts()
        if exponents and _has_infinite(outside):
            raise InvalidJson("The body has a number that is too large for a double. Send it as text.")


def _has_infinite(outside: bytes) -> bool:
    for exponent in _EXPONENT.finditer(outside):
        before = outside[max(0, exponent.start() - _LONGEST) : exponent.start()]
        try:
            number = float(before[len(before.rstrip(_MANTISSA)) :] + exponent[0])
        except ValueError:
            continue  # not a number
        if math.isinf(number):
            return True
    return False


def _check_nesting(structure: bytes) -> None:
    """:param structure: a bracket for each begin and end of a list or object, a colon for each name."""
    many = structure.count(b":") > MAX_NAMES
    if not many:
        structure = structure.replace(b":", b"")
    for _ in range(MAX_DEPTH):
        # Each round removes the innermost brackets, so adjacent colons belong to one object.
        if many and _TOO_MANY_NAMES in structure:
            raise InvalidJson(f"An object in the body has more than {MAX_NAMES} names. Send fewer.")
        left = _INNERMOST.sub(b"", structure) if many else structure.replace(b"[]", b"")
        if not left:
            return
        if len(left) == len(structure) and structure.count(b"[") <= MAX_DEPTH:
            return  # the brackets do not match, so this is not JSON, which the parser reports
        structure = left
    raise InvalidJson(f"The body is nested more than {MAX_DEPTH} levels deep. Send a flatter one.")


def _too_many_parts() -> InvalidJson:
    return InvalidJson(f"The body has more than {MAX_PARTS} parts. Send a smaller one.")
