"""Fetches the list of an upstream's models: ``GET /v1/models`` of the OpenAI API."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from .. import __version__
from ..config.schema import Timeouts, UpstreamSettings
from ..model.call import Call, Caller, Ids, Operation
from ..model.errors import UpstreamError, UpstreamMalformed
from .anthropic_headers import VERSION
from .renewed_keys import RenewedKey
from .transport.client import UpstreamClient
from .transport.deadlines import UpstreamAttempt
from .transport.tls_trust import egress_of

#: The timeout, seconds; the longest list, bytes; and the most models that are used of it.
PATIENCE, MAX_LIST, MAX_MODELS = 10.0, 8 * 1024 * 1024, 512
#: The longest name of a model that callers may send, characters.
MAX_NAME = 200
#: The models on one page of Anthropic's list: as many as it allows.
PAGE = 1000


class _Model(msgspec.Struct):
    id: Any = None


class _List(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_List).decode


def models_of(
    upstream: UpstreamSettings, http: UpstreamClient, renewed_key: RenewedKey | None = None
) -> tuple[str, ...]:
    """Return the names of its models, at most :data:`MAX_MODELS`. Blocks: do not call it while serving.

    :param renewed_key: the key that a command prints; ``None``: there is none.
    :raises GatewayError: the upstream does not answer, or its answer is no list of models.
    """
    if upstream.url.startswith("mock://"):
        return (upstream.name,)
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"flask-gateway/{__version__}",
    }
    key = upstream.api_key.reveal() if upstream.api_key else None
    headers |= upstream.of_kind.headers_of(renewed_key.current(upstream.name) if renewed_key else key)
    exchange = UpstreamAttempt(_call(), upstream.name, Timeouts.within(PATIENCE, PATIENCE), lambda: False)
    url = f"{upstream.url}/models"
    if Operation.CHAT not in upstream.operations:
        # Anthropic's list needs the version, and has 20 models on a page unless asked for more.
        headers["anthropic-version"], url = VERSION, f"{url}?limit={PAGE}"
    source = http.post(url, b"", headers, exchange, "GET", egress_of(upstream))
    try:
        status, body = source.response.status_code, b""
        if status != 200:
            raise UpstreamError(f"GET /models was answered with status {status}.", upstream=upstream.name)
        while data := source.read():
            body += data
            if len(body) > MAX_LIST:
                raise UpstreamMalformed(f"The list is longer than {MAX_LIST} bytes.", upstream=upstream.name)
        return _names(body, upstream.name)
    finally:
        source.close()


def _names(body: bytes, upstream: str) -> tuple[str, ...]:
    try:
        models = _decode(body).data
    except (ValueError, RecursionError):
        raise UpstreamMalformed(
            "GET /models was answered with no list of models.", upstream=upstream
        ) from None
    usable = dict.fromkeys(
        model.id
        for model in models
        if isinstance(model.id, str) and 0 < len(model.id) <= MAX_NAME and model.id.isprintable()
    )
    return tuple(usable)[:MAX_MODELS]


def _call() -> Call:
    """Return a call of no caller, since an attempt needs one."""
    started = time.monotonic()
    return Call(
        ids=Ids("", "", ""),
        caller=Caller("gateway", 0),
        operation=Operation.CHAT,
        model="",
        fields={},
        stream=False,
        started=started,
        deadline=started + PATIENCE,
    )
