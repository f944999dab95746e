"""Bounds the structure of a body: its depth, its names and parts, its numbers.

The upstream will parse the whole body. We refuse nesting, names and numbers that no model request needs,
before they can hurt its parser, which may recurse, or hash names. Texts are nearly all of a body, and are
only stepped over.
"""

from __future__ import annotations

import math
import re

from ..model.errors import InvalidJson
from ..model.large_json import SLICE, Texts, slices

#: Lists and objects inside each other.
MAX_DEPTH = 64
#: Names in one object.
MAX_NAMES = 10_000
#: In all: texts and names together, lists and objects and names together, large exponents.
MAX_PARTS = 100_000
#: Digits in a row in a number. The largest double has 309 before its point.
MAX_DIGITS = 309

_BONES = bytes.maketrans(b"{}", b"[]")
_FLESH = bytes(set(range(256)) - set(b"[]{}:"))
_INNERMOST = re.compile(rb"\[:*+\]")
_TOO_MANY_NAMES = b":" * (MAX_NAMES + 1)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * (MAX_DIGITS + 1)
_EXPONENT = re.compile(rb"[eE]\+?[0-9]++")
_MANTISSA = b"0123456789."
#: What a number, or a word, that goes on in the next slice may end in, and the longest that is one.
_WORDS, _LONGEST = b"0123456789.+-Eaeflnrstu", 3 * MAX_DIGITS


def check_shape(body: bytes) -> None:
    """See that a body is of a shape that an upstream can be asked to read.

    :param body: JSON. Of what is none nothing is said; nor does it take longer.
    :raises InvalidJson: it is of no such shape.
    """
    shape = _Shape()
    for piece in (body,) if len(body) <= SLICE else slices(body):
        shape.add(piece)
    shape.end()


class _Shape:
    """What is known of a body, slice by slice."""

    def __init__(self) -> None:
        self._texts = Texts()
        #: A bracket for each begin and end of a list or object, a colon for each name.
        self._bones: list[bytes] = []
        self._parts = self._exponents = 0
        #: The end of the last slice, if a number may go on in the next.
        self._begun = b""

    def add(self, piece: bytes) -> None:
        texts, inside = self._texts, self._texts.inside
        pieces = texts.split(piece, 2 * MAX_PARTS + 1 - texts.quotes)
        if texts.quotes > 2 * MAX_PARTS:
            raise _too_many_parts()
        outside = b"".join(pieces[inside::2])
        if not outside:
            return
        bones = outside.translate(_BONES, _FLESH)
        self._bones.append(bones)
        self._parts += len(bones)
        if self._parts > 2 * MAX_PARTS:
            raise _too_many_parts()
        outside = self._begun + outside
        done = outside.rstrip(_WORDS)
        self._begun = outside[len(done) :]
        if len(self._begun) > _LONGEST:  # no number at all
            done, self._begun = outside, b""
        self._check_numbers(done)

    def end(self) -> None:
        if self._begun:
            self._check_numbers(self._begun)
        _check_nesting(b"".join(self._bones))

    def _check_numbers(self, bare: bytes) -> None:
        """What is infinite to one reader is an error to another, and a long integer takes long to read."""
        if len(bare) > MAX_DIGITS and _TOO_MANY_DIGITS in bare.translate(_DIGITS):
            raise InvalidJson(f"The body has a number of more than {MAX_DIGITS} digits.")
        exponents = bare.count(b"e") + bare.count(b"E")
        if exponents:  # but for what is harmless
            exponents -= sum(map(bare.count, (b"true", b"false", b"e-", b"E-")))
        self._exponents += exponents
        if self._exponents > MAX_PARTS:
            raise _too_many_parts()
        if exponents and _has_infinite(bare):
            raise InvalidJson("The body has a number that is too large: a double cannot hold it.")


def _has_infinite(bare: bytes) -> bool:
    for exponent in _EXPONENT.finditer(bare):
        begun = bare[max(0, exponent.start() - _LONGEST) : exponent.start()]
        try:
            number = float(begun[len(begun.rstrip(_MANTISSA)) :] + exponent[0])
        except ValueError:
            continue  # it is none
        if math.isinf(number):
            return True
    return False


def _check_nesting(bones: bytes) -> None:
    """:param bones: a bracket for each begin and end of a list or object, a colon for each name."""
    many = bones.count(b":") > MAX_NAMES
    if not many:
        bones = bones.replace(b":", b"")
    for _ in range(MAX_DEPTH):
        # What is further inside is gone, so colons side by side are of one object.
        if many and _TOO_MANY_NAMES in bones:
            raise InvalidJson(f"An object in the body has more than {MAX_NAMES} names.")
        left = _INNERMOST.sub(b"", bones) if many else bones.replace(b"[]", b"")
        if not left:
            return
        if len(left) == len(bones) and bones.count(b"[") <= MAX_DEPTH:
            return  # brackets without their match are no JSON, of which nothing is said here
        bones = left
    raise InvalidJson(f"The body is nested more than {MAX_DEPTH} deep.")


def _too_many_parts() -> InvalidJson:
    return InvalidJson(f"The body has more than {MAX_PARTS} parts.")
