"""Makes issued keys, and tells a typing error by their check digits.

A key is ``sk-fgw-``, 43 characters of base62 (256 random bits), and 6 characters that are the CRC-32 of those
43 in base62. Scanners for secrets find it by its form, and the command line tells a typing error. The gateway
itself never looks at the check digits: it refuses all wrong keys in the same way.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib

PREFIX = "sk-fgw-"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK = 43, 6
#: The form of a key, for scanners of secrets.
PATTERN = r"sk-fgw-[0-9A-Za-z]{49}"
_FORM = re.compile(PATTERN)
#: base32 without padding, for ids.
_LETTERS = string.ascii_lowercase + "234567"


def new_key() -> str:
    """Make a key of 256 random bits."""
    random = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return f"{PREFIX}{random}{check_digits(random)}"


def new_id() -> str:
    """Make the id of a key. It is random, so ids tell nothing about other keys."""
    return "key_" + "".join(secrets.choice(_LETTERS) for _ in range(12))


def check_digits(text: str) -> str:
    """Return the CRC-32 of the text in base62."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def is_mistyped(key: str) -> bool:
    """Whether a key that begins as an issued one cannot be one."""
    if not key.startswith(PREFIX):
        return False
    return not _FORM.fullmatch(key) or check_digits(key[len(PREFIX) : -_CHECK]) != key[-_CHECK:]


def hint_of(key: str) -> str:
    """Return the beginning and the last 4 characters of a key, for lists. Short keys have none."""
    return f"{key[:7]}…{key[-4:]}" if len(key) >= 24 else ""
