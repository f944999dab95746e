"""The length of a sound by the beginning of its file."""

from __future__ import annotations

import io
import wave

import pytest

from flask_gateway.web.sound_length import COMPRESSED, SoundLength


def wav(seconds: int, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * rate * seconds))
    return file.getvalue()


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_wav_file_says_its_length(step: int) -> None:
    data, length = wav(3), SoundLength()
    for at in range(0, len(data), step):
        length.feed(data[at : at + step])
    assert length.seconds(len(data) - 44) == 3


@pytest.mark.parametrize("head", [b"", b"ID3", b"RIFF", b"RIFF....WAVEfmt " + bytes(28)])
def test_another_file_is_estimated(head: bytes) -> None:
    length = SoundLength()
    length.feed(head)
    assert length.seconds(COMPRESSED * 2 + 1) == 3
    assert length.seconds(0) == 0
