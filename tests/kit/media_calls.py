"""Builds calls on sound and pictures for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flask_gateway.model.call import Call, Operation
from flask_gateway.model.upload import LongBody
from kit.calls import make_call


class FakeUpload:
    """A form of which only the size is known (``model.upload.Upload``)."""

    content_type = "multipart/form-data; boundary=x"

    def __init__(self, files: int = 1, size: int = 4000, seconds: int = 1) -> None:
        self.files, self.size, self.seconds = files, size, seconds

    def body(self, model: str, fields: Mapping[str, msgspec.Raw]) -> LongBody:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def media_call(
    operation: Operation, *, stream: bool = False, upload: FakeUpload | None = None, **fields: Any
) -> Call:
    """A call as the web layer builds it from a request."""
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    call = make_call("m", stream=stream)
    return msgspec.structs.replace(call, operation=operation, fields=raw, upload=upload)
