"""Reads the tags of a request, for reports: ``x-gateway-tags: feature=search,env=prod``."""

from __future__ import annotations

from collections.abc import Mapping

from ..model.call import Caller

HEADER = "x-gateway-tags"
#: The longest value of a tag, characters, as for tags of keys.
MOST_VALUE = 64


def tags_of(caller: Caller, text: str | None) -> Mapping[str, str]:
    """The tags of the key, and those of the request whose names the key allows. The key's own come first.

    :param text: of the header; ``None`` if there is none. Whatever is no allowed tag in it is not read: tags
        are for reports, and refuse no call.
    """
    if not text:
        return caller.tags
    sent = {}
    for pair in text.split(",", 64)[:64]:
        name, _, value = (part.strip() for part in pair.partition("="))
        if name in caller.request_tags and value.isprintable() and 0 < len(value) <= MOST_VALUE:
            sent[name] = value
    return {**sent, **caller.tags} if sent else caller.tags
