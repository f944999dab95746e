"""Counts the units of one answer for which providers ask money."""

from __future__ import annotations

import msgspec


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """The billed units of one answer. A total includes its parts, as in OpenAI's usage object.

    :param input: input tokens in all: text, images, audio, cached ones, ones written to a cache.
    :param cached: input tokens read from the provider's cache.
    :param write: input tokens written to the provider's cache, whatever their lifetime.
    :param write_5m: of those, the ones that live five minutes, where the provider says so.
    :param write_1h: of those, the ones that live an hour.
    :param cached_audio: audio tokens that are both cached and audio.
    :param output: output tokens in all: text, reasoning, images, audio.
    :param requests: requests, where the provider bills each.
    :param searches: web searches that the provider made for the answer.
    :param seconds: seconds of audio, rounded up.
    """

    input: int = 0
    cached: int = 0
    write: int = 0
    write_5m: int = 0
    write_1h: int = 0
    input_audio: int = 0
    cached_audio: int = 0
    input_image: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    requests: int = 1
    searches: int = 0
    images: int = 0
    seconds: int = 0
    characters: int = 0

    def consistent(self) -> Units:
        """Return units of which none is negative and no part is above its total.

        A total is raised to its parts. ``write_5m`` becomes the written tokens that do not live an hour.
        """
        counts = {name: max(count, 0) for name, count in msgspec.structs.asdict(self).items()}
        write = max(counts["write"], counts["write_5m"] + counts["write_1h"])
        counts["write"], counts["write_5m"] = write, write - counts["write_1h"]
        counts["cached_audio"] = min(counts["cached_audio"], counts["cached"], counts["input_audio"])
        input_parts = counts["cached"] + write, counts["input_audio"], counts["input_image"]
        counts["input"] = max(counts["input"], *input_parts)
        output_parts = counts["reasoning"], counts["output_audio"] + counts["output_image"]
        counts["output"] = max(counts["output"], *output_parts)
        return Units(**counts)
