"""How large a body is in kind, not in bytes: how deep, how many names and parts, what numbers.

We leave what stands in a body to the upstream, which will build it all in memory, and may do so in a
language where depth is recursion and names are hashed. So what no request to a model needs goes no
further. It is found out at the speed of memory: the texts, nearly all of a body, are only stepped over.
"""

from __future__ import annotations

import math
import re

from ..errors import InvalidJson

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
_LARGE = re.compile(rb"(?<![0-9.])[0-9]++(?:\.[0-9]++)?[eE]\+?[0-9]++")


def check_shape(body: bytes) -> None:
    """See that a body is of a shape that an upstream can be asked to read.

    :param body: JSON. Of what is none nothing is said; nor does it take longer.
    :raises InvalidJson: it is of no such shape.
    """
    bare = _without_texts(body)
    _check_nesting(bare.translate(_BONES, _FLESH))
    _check_numbers(bare)


def _without_texts(body: bytes) -> bytes:
    # Backslashes stand in texts only, and a quote behind one ends no text, unless that backslash is
    # itself escaped. To replace by as many bytes is the fastest.
    # A single byte is looked for many times faster than two or three.
    if b"\\" in body:
        if rb'\\"' in body:
            body = body.replace(rb"\\", b"--")
        body = body.replace(rb"\"", b"--")
    pieces = body.split(b'"', 2 * MAX_PARTS + 1)
    if len(pieces) > 2 * MAX_PARTS + 1:
        raise _too_many_parts()
    return b"".join(pieces[::2])


def _check_nesting(bones: bytes) -> None:
    """:param bones: a bracket for each begin and end of a list or object, a colon for each name."""
    if len(bones) > 2 * MAX_PARTS:
        raise _too_many_parts()
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


def _check_numbers(bare: bytes) -> None:
    """What is infinite to one reader is an error to another, and a long integer takes long to read."""
    if _TOO_MANY_DIGITS in bare.translate(_DIGITS):
        raise InvalidJson(f"The body has a number of more than {MAX_DIGITS} digits.")
    harmless = sum(map(bare.count, (b"true", b"false", b"e-", b"E-")))
    exponents = bare.count(b"e") + bare.count(b"E") - harmless
    if exponents > MAX_PARTS:
        raise _too_many_parts()
    if exponents and any(math.isinf(float(number[0])) for number in _LARGE.finditer(bare)):
        raise InvalidJson("The body has a number that is too large: a double cannot hold it.")


def _too_many_parts() -> InvalidJson:
    return InvalidJson(f"The body has more than {MAX_PARTS} parts.")
