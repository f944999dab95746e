"""Finds the length of a sound from the beginning of its file, for the estimate of its cost.

A WAV file says its bytes a second. Other formats are compressed: speech needs 4000 bytes a second, 32 kbit/s.
So the estimate is rather too long than too short.
"""

from __future__ import annotations

import struct

#: Bytes a second of a compressed file.
COMPRESSED = 4000
#: The slowest and the fastest WAV that are believed, bytes a second.
_SLOWEST, _FASTEST = 1000, 10_000_000


class SoundLength:
    """Collects the first bytes of a file."""

    #: How many bytes are collected.
    HEAD = 44

    def __init__(self) -> None:
        self._head = b""

    def feed(self, data: bytes) -> None:
        self._head += data[: self.HEAD - len(self._head)]

    def seconds(self, size: int) -> int:
        """The length of the sound, seconds, rounded up.

        :param size: of the file, bytes.
        """
        return -(-size // self._bytes_per_second())

    def _bytes_per_second(self) -> int:
        """The byte rate in the header of a WAV file, which begins with its format: RFC 2361."""
        if self._head[:4] == b"RIFF" and self._head[8:16] == b"WAVEfmt " and len(self._head) >= 32:
            (rate,) = struct.unpack_from("<I", self._head, 28)
            if _SLOWEST <= rate <= _FASTEST:
                return int(rate)
        return COMPRESSED
