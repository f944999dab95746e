"""Counts what calls on sound and pictures use: tokens, seconds, characters, images.

Providers bill some models by tokens and others by their natural unit. So a usage has both: what the upstream
reports, and estimates of the rest. A call that uses something never has a usage of zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ..model.call import HEARING, PICTURES, Call, Operation, Usage
from .expected_choices import choices_of
from .reported_usage import ReportedUsage
from .usage import Tally

#: Tokens of a second of sound that a model hears: OpenAI counts one for each tenth of a second.
HEARD_PER_SECOND = 10
#: Tokens of the text of a second of speech: 200 words a minute.
WRITTEN_PER_SECOND = 5
#: Tokens of spoken sound for each character of its text: 1250 a minute, at 15 characters a second.
SPOKEN_PER_CHARACTER = 1.5
#: Tokens of a picture that is made, as gpt-image-1 counts one of 1024 x 1024 in high quality.
PER_IMAGE = 4160
#: Tokens of a picture that is read.
PER_IMAGE_READ = 1500
#: The most images that a call is taken to ask for.
_MOST_IMAGES = 128
#: The longest sound that is believed, seconds: a day.
_MOST_SECONDS = 86_400
#: The audio API writes ``token`` where all others write ``tokens``.
_SINGULAR = {
    "input_token_details": "input_tokens_details",
    "output_token_details": "output_tokens_details",
}


def expected_usage(call: Call) -> Usage:
    """Estimate the usage of a call on sound or pictures before it is sent."""
    if call.operation in HEARING:
        return heard(call.upload.seconds if call.upload else 0)
    if call.operation is Operation.SPEECH:
        return spoken(call)
    return pictured(call, min(choices_of(call), _MOST_IMAGES))


def heard(seconds: int, written: int | None = None) -> Usage:
    """The usage of sound that was heard.

    :param seconds: 0 counts as 1. :param written: tokens of the transcript; ``None``: they are estimated.
    """
    seconds = max(1, seconds)
    tokens = seconds * HEARD_PER_SECOND
    written = seconds * WRITTEN_PER_SECOND if written is None else written
    return Usage(tokens, written, source="estimated", parts={"seconds": seconds, "input_audio": tokens})


def spoken(call: Call) -> Usage:
    """The usage of a text that is spoken. No upstream reports it with bare sound."""
    text = call.fields.get("input", msgspec.Raw(b'""'))
    try:
        characters = len(msgspec.json.decode(text, type=str))
    except ValueError:
        characters = len(memoryview(text))
    tally = Tally()
    tally.add_json(text)
    sound = math.ceil(characters * SPOKEN_PER_CHARACTER)
    parts = {"characters": characters, "output_audio": sound}
    return Usage(max(1, tally.tokens), sound, source="estimated", parts=parts)


def pictured(call: Call, images: int) -> Usage:
    """The usage of pictures that were made."""
    tally = Tally()
    if "prompt" in call.fields:
        tally.add_json(call.fields["prompt"])
    read = PER_IMAGE_READ * (call.upload.files if call.upload else 0)
    made = PER_IMAGE * images
    parts = {"images": images, "output_image": made}
    parts |= {"input_image": read} if read else {}
    return Usage(max(1, tally.tokens + read), made, source="estimated", parts=parts)


def reported_usage(call: Call, fields: Any, images: int = 0) -> Usage | None:
    """The usage that an upstream reports; ``None`` if it reports none that counts.

    https://platform.openai.com/docs/api-reference/audio: ``{"type": "duration", "seconds": 9}`` or tokens.

    :param fields: the ``usage`` of an answer or an event. :param images: in the answer.
    """
    if not isinstance(fields, dict):
        return None
    if call.operation in HEARING and (seconds := whole_seconds(fields.get("seconds"))):
        return msgspec.structs.replace(heard(seconds), source="reported")
    reported = ReportedUsage()
    reported.add({_SINGULAR.get(name, name): value for name, value in fields.items()})
    if not reported:
        return None
    estimate = expected_usage(call)
    usage = reported.usage(lambda: estimate.prompt_tokens, lambda: estimate.completion_tokens)
    return msgspec.structs.replace(usage, parts={**usage.parts, **_natural(call, estimate, images)})


def _natural(call: Call, estimate: Usage, images: int) -> Mapping[str, int]:
    """The natural unit of an answer whose tokens are reported. It counts where a model has no token price."""
    if call.operation in PICTURES:
        return {"images": images or estimate.parts["images"]}
    return {name: estimate.parts[name] for name in ("seconds", "characters") if name in estimate.parts}


def whole_seconds(value: Any) -> int:
    """The seconds that a server writes as a number or as text, rounded up; 0 if it writes none."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return 0
    return math.ceil(seconds) if 0 < seconds <= _MOST_SECONDS else 0
