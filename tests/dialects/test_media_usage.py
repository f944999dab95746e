"""The usage of calls on sound and pictures: as reported, and as estimated. It is never zero."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.media_calls import FakeUpload, media_call

from flask_gateway.dialects.media_usage import expected_usage, heard, reported_usage, whole_seconds
from flask_gateway.model.call import MEDIA, Operation
from flask_gateway.model.units import Units


@pytest.mark.parametrize("operation", MEDIA)
def test_no_call_is_expected_to_use_nothing(operation: Operation) -> None:
    usage = expected_usage(media_call(operation))
    assert usage.source == "estimated"
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens >= 0
    natural = usage.units.seconds + usage.units.characters + usage.units.images
    assert natural > 0 or operation is Operation.SPEECH


def test_the_natural_units_of_each_kind() -> None:
    sound = media_call(Operation.TRANSCRIPTION, upload=FakeUpload(seconds=61))
    assert expected_usage(sound).parts == {"seconds": 61, "input_audio": 610}
    speech = media_call(Operation.SPEECH, input="Grüße")
    assert expected_usage(speech).parts == {"characters": 5, "output_audio": 8}
    made = media_call(Operation.IMAGE, prompt="A fox", n=3)
    assert expected_usage(made).units.images == 3
    changed = media_call(Operation.IMAGE_EDIT, prompt="A fox", upload=FakeUpload(files=2))
    assert expected_usage(changed).units.input_image == 3000


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({"type": "duration", "seconds": 8.2}, Units(input=90, output=45, seconds=9, input_audio=90)),
        (
            {
                "input_tokens": 20,
                "input_token_details": {"text_tokens": 2, "audio_tokens": 18},
                "output_tokens": 7,
                "total_tokens": 27,
            },
            Units(input=20, output=7, input_audio=18, seconds=4),
        ),
    ],
)
def test_a_reported_usage_of_sound(fields: Any, units: Units) -> None:
    usage = reported_usage(media_call(Operation.TRANSCRIPTION, upload=FakeUpload(seconds=4)), fields)
    assert usage is not None
    assert (usage.units, usage.source) == (units, "reported")


def test_a_reported_usage_of_pictures() -> None:
    fields = {"input_tokens": 11, "output_tokens": 4160, "total_tokens": 4171}
    usage = reported_usage(media_call(Operation.IMAGE, prompt="A fox"), fields, images=2)
    assert usage is not None
    assert usage.units == Units(input=11, output=4160, images=2)


@pytest.mark.parametrize("fields", [None, [], {}, {"seconds": "x"}, {"input_tokens": 0, "output_tokens": 0}])
def test_a_report_of_nothing_is_no_usage(fields: Any) -> None:
    assert reported_usage(media_call(Operation.TRANSCRIPTION, upload=FakeUpload()), fields) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(9, 9), (8.01, 9), ("42.7", 43), (0, 0), (-1, 0), ("nan", 0), ("inf", 0), (None, 0), ([], 0), (1e9, 0)],
)
def test_whole_seconds(value: Any, seconds: int) -> None:
    assert whole_seconds(value) == seconds


def test_silence_counts_as_a_second() -> None:
    assert heard(0).parts["seconds"] == 1


def test_an_input_that_is_no_text_is_counted_in_its_bytes() -> None:
    call = media_call(Operation.SPEECH)
    odd = msgspec.structs.replace(call, fields={"input": msgspec.Raw(b"[1,2,3]")})
    assert expected_usage(odd).units.characters == 7
