"""Opens WebSocket sessions at an upstream: the upgrade request and its answer (RFC 6455, 4)."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from ..config.schema import Timeouts
from ..model.call import Call, Operation
from ..model.errors import TELL_OPERATOR, UpstreamMalformed
from ..model.reply import Reply
from ..realtime.handshake import accept_of
from ..realtime.session_transcript import SessionTranscript
from .transport.client import ResponseSource
from .transport.deadlines import UpstreamAttempt

#: Headers of a POST that an upgrade does not have.
_LEFT_OUT = frozenset({"Content-Type", "Accept", "Accept-Encoding"})


class Opening(NamedTuple):
    """An upgrade request, and the attempt that it belongs to."""

    call: Call
    upstream: str
    url: str
    head: Mapping[str, str]
    exchange: UpstreamAttempt

    def opened(self, source: ResponseSource) -> Reply:
        """The open session, after an answer with status 101.

        :raises UpstreamMalformed: the answer agrees to something else.
        """
        said = source.response.headers
        expected = accept_of(self.head["Sec-WebSocket-Key"])
        if said.get("sec-websocket-accept") != expected or said.get("sec-websocket-extensions"):
            raise UpstreamMalformed(
                f"Upstream '{self.upstream}' did not agree to a WebSocket as it was asked. {TELL_OPERATOR}",
                upstream=self.upstream,
            )
        self.exchange.answered()
        transcript = SessionTranscript(self.call.operation, self.upstream)
        began = self.call.epoch_ns(self.exchange.started)
        return SessionReply(source, transcript, self.upstream, self.call.model, began)


class SessionReply(Reply):
    """The reply to a call that opens a session."""

    __slots__ = ()
    status = 101


def open_session(call: Call, upstream: str, url: str, head: Mapping[str, str], clocks: Timeouts) -> Opening:
    """Make the upgrade request. No extension is asked for, so that frames stay readable.

    :param head: of a call to the upstream, with its credential.
    """
    if call.operation is Operation.REALTIME:
        url = f"{url}?{urlencode({'model': call.model})}"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(os.urandom(16)).decode(),
    }
    kept = {name: value for name, value in head.items() if name not in _LEFT_OUT}
    # The call's own deadline ends the session.
    lasting = msgspec.structs.replace(clocks, total=call.deadline - call.started)
    exchange = UpstreamAttempt(call, upstream, lasting, lambda: True)
    return Opening(call, upstream, url, {**kept, **call.headers, **upgrade}, exchange)
