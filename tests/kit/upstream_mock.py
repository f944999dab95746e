"""Answers the gateway's requests to upstreams from a test: ``responses`` at the seam ``Adapter.send``."""

from __future__ import annotations

from typing import Any

import requests
import responses


class _Replayed:
    """The answer of a test, as an ``UpstreamResponse``: all of it has come."""

    holds = True

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.close = raw.close

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    def read1(self, *args: Any, **more: Any) -> bytes:
        return self._raw.read1(*args, **more)  # type: ignore[no-any-return]

    def receive(self) -> bytes:
        return self.read1()

    def settimeout(self, seconds: float) -> None:
        """Do nothing: no read waits."""


def replayed(response: requests.Response) -> requests.Response:
    """The response, read as the gateway reads those of its own connections."""
    response.raw = _Replayed(response.raw)
    return response


class UpstreamMock(responses.RequestsMock):
    """A request that no test has registered fails the test."""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            response_callback=replayed,  # type: ignore[arg-type]
            target="flask_gateway.upstreams.transport.pool.Adapter.send",
            **more,
        )
