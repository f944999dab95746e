"""Checks the path from a caller to the gateway, with all proxies on it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from itertools import pairwise
from time import time

from ...config.secrets import DEV_KEY
from .finding import Diagnosis, fail, ok, warn
from .probe_client import MOCK, ProbeClient, ProbeResponse

#: The shortest stream that can show whether a proxy buffers it, seconds.
TOO_QUICK = 0.3
#: The smallest number of events that can show it.
TOO_FEW = 5
#: How long to wait for the refusal of a body by its announced size, seconds.
REFUSED_WITHIN = 0.6
#: Clocks that differ by more than this make logs hard to join, seconds.
CLOCKS_APART = 2.0

#: A key that no caller has.
MADE_UP = "made-up-by-doctor"

DEPLOY = "see docs/deploy.md"


def check_all(caller: ProbeClient, model: str | None, max_body: int) -> Iterator[Diagnosis]:
    """Run all checks that a caller can make.

    :param model: a model for one stream; ``None`` for the mock, if there is one.
    :param max_body: the gateway's limit of a body, bytes.
    """
    try:
        first = caller.get("/health", key="")
    except ssl.SSLCertVerificationError as error:
        remedy = "a certificate for this name, or SSL_CERT_FILE with its CA for this command"
        yield fail(f"certificate: {error.verify_message}", remedy)
        return
    except (OSError, http.client.HTTPException) as error:
        yield fail(f"path: no answer at {caller.url}: {error}", "is it running, and is this its URL?")
        return
    yield health(first)
    if first.status != 200:
        return
    try:
        yield from _further(caller, first, model, max_body)
    except (OSError, http.client.HTTPException) as error:
        yield fail(f"path: an answer was cut off: {error!r}", "see the logs of the gateway and its proxy")


def _further(
    caller: ProbeClient, first: ProbeResponse, model: str | None, max_body: int
) -> Iterator[Diagnosis]:
    if not caller.secure and not caller.local:
        yield fail("encryption: keys and prompts travel unencrypted", f"https: {DEPLOY}")
    yield clocks(first.headers.get("date"), time())
    yield published_key(caller.get("/v1/models", key=DEV_KEY).status, local=caller.local)
    yield addresses(
        caller.get("/v1/models", key=MADE_UP).headers.get("x-gateway-address"), local=caller.local
    )
    yield metrics(caller.get("/metrics", key="").status, local=caller.local)
    yield connections(kept=caller.twice("/health"), secure=caller.secure)
    if not caller.key:
        yield warn("body size, buffering: not checked without a key", "set $FLASK_GATEWAY_KEY")
        return
    breakers = caller.get("/v1/circuit-breakers")
    yield state(breakers)
    yield from stream_options(breakers)
    fits, over = (caller.announce(size, REFUSED_WITHIN) for size in (max_body, max_body + 1))
    yield body_size(fits, over, max_body)
    model = model or free_model(caller.get("/v1/models"))
    if model is None:
        yield warn("buffering: not checked without a model", "name a cheap one with --model")
        return
    yield buffering(caller.stream(model))


def free_model(models: ProbeResponse) -> str | None:
    """Return the mock's name if the gateway lists it: its streams cost nothing.

    :param models: the answer of ``/v1/models``.
    """
    try:
        listed = json.loads(models.body)["data"]
        return next((MOCK for one in listed if one["id"] == one["owned_by"] == MOCK), None)
    except (ValueError, KeyError, TypeError):
        return None


def health(answer: ProbeResponse) -> Diagnosis:
    if answer.status == 200 and b'"ok"' in answer.body:
        return ok("path: the gateway answers")
    what = f"path: /health is answered with {answer.status}"
    return fail(what, "the URL is not the gateway's, or its proxy cannot reach it: see the proxy's error log")


def clocks(date: str | None, now: float) -> Diagnosis:
    """:param date: the Date header of the answer. :param now: this machine's time, Unix seconds."""
    with suppress(TypeError, ValueError):
        apart = abs(parsedate_to_datetime(date or "").timestamp() - now)
        if apart > CLOCKS_APART:
            return warn(
                f"clock: the gateway's and this machine's are {apart:.0f} s apart",
                "systemctl status systemd-timesyncd",
            )
        return ok("clock: the gateway's and this machine's agree")
    return warn("clock: the answer has no date to compare with", "let the proxy pass the header Date")


def published_key(status: int, *, local: bool) -> Diagnosis:
    if status == 401:
        return ok(f"keys: the published {DEV_KEY} is refused")
    if status != 200:
        return warn(f"keys: {DEV_KEY} was answered with {status}", "is this URL the gateway's?")
    what, remedy = (
        f"keys: everybody knows {DEV_KEY}, and it works",
        "set GATEWAY_API_KEYS, or [keys] in the file",
    )
    return warn(what, remedy) if local else fail(what, remedy)


def addresses(sharing: str | None, *, local: bool) -> Diagnosis:
    """Whether the gateway counts wrong keys for each caller separately.

    :param sharing: its header about the address of a wrong key: see ``web/client_address.py``.
    """
    if sharing == "own" or (sharing == "machine" and local):
        return ok("addresses: wrong keys are counted for each caller separately")
    header = "proxy_set_header X-Forwarded-For $remote_addr;"
    if sharing == "machine":
        return warn("addresses: all callers behind the local proxy share one count of wrong keys", header)
    if sharing == "proxy":
        what = "addresses: all callers behind the proxy on another machine share one count of wrong keys"
        return warn(what, "run a proxy on the gateway's machine, or set GATEWAY_FAILED_KEYS_PER_MINUTE=0")
    if sharing == "unknown":
        what = "addresses: wrong keys are not counted, since the proxy sends no single address"
        return warn(what, f"{header} without the caller's own header (not $proxy_add_x_forwarded_for)")
    what = "addresses: the answer to a wrong key has no x-gateway-address"
    return warn(what, "let the proxy pass the header x-gateway-address")


def metrics(status: int, *, local: bool) -> Diagnosis:
    if status != 200 or local:
        return ok("metrics: not open to everybody")
    return fail("metrics: /metrics is open to everybody", f"refuse it in the proxy: {DEPLOY}")


def stream_options(answer: ProbeResponse) -> Iterator[Diagnosis]:
    """Warn of each upstream that has refused ``stream_options``.

    :param answer: of ``/v1/circuit-breakers``.
    """
    refused: list[str] = []
    with suppress(ValueError, TypeError, AttributeError):
        refused = json.loads(answer.body).get("stream_options_refused", [])
    for upstream in refused:
        yield warn(
            f"upstream {upstream}: it refuses stream_options, so the usage of its streams is estimated",
            "`stream_usage = false` in its table, or a newer version of the server",
        )


def connections(*, kept: bool, secure: bool) -> Diagnosis:
    """Check keep-alive.

    :param kept: whether a second request could reuse the connection.
    """
    if kept:
        return ok("connections: kept for the next request")
    if secure:
        return warn("connections: each request needs its own TLS handshake", "keepalive_timeout in the proxy")
    return warn("connections: closed after each answer, which costs each call one more round trip", DEPLOY)


def behind(headers: str | None) -> Diagnosis:
    """Check the gateway at its own address, without the proxy.

    :param headers: the Connection header of its answer.
    """
    kept = (headers or "").lower()
    if kept == "close":
        return ok("connections: the gateway closes each after its answer")
    if kept == "keep-alive":
        return ok(
            "connections: the gateway keeps idle ones; a proxy closes its own within 2 s, "
            "so that a reload crosses no call"
        )
    return warn(
        "connections: the server may keep idle ones, and close one just when a proxy uses it",
        "the worker class of gunicorn.conf.py",
    )


def state(answer: ProbeResponse) -> Diagnosis:
    """Whether limits and breakers are kept in the configured store, according to the gateway."""
    try:
        reported = json.loads(answer.body)["state"]
        kind, degraded, reason = reported["store"], reported["degraded"], reported.get("reason", "")
    except (ValueError, KeyError, TypeError):
        return warn("state: the gateway does not say where it keeps its state", "is the key right?")
    if degraded:
        what = f"state: limits and breakers are not kept in {kind}://, as the settings say: {reason}"
        return fail(what, "see GET /v1/circuit-breakers and the gateway's log")
    return ok(f"state: limits and breakers are kept in {kind}://")


def body_size(fits: ProbeResponse | None, over: ProbeResponse | None, limit: int) -> Diagnosis:
    """Whether the gateway and all proxies have the same limit of a body.

    :param fits: the answer to the announcement of ``limit`` bytes; ``None``: they waited for the body.
    :param over: the same with one byte more.
    """
    if fits is not None and fits.status == 413:
        return fail(
            f"body size: {limit} bytes are refused, though the gateway accepts them",
            f"client_max_body_size {limit};  in the proxy, or GATEWAY_MAX_BODY_BYTES",
        )
    if fits is not None:
        return warn(f"body size: answered with {fits.status} before it was sent", "is the key right?")
    if over is None or over.status != 413:
        return warn(
            f"body size: the proxy accepts more than the gateway's {limit} bytes",
            f"client_max_body_size {limit};  refuses a body before it is sent",
        )
    if not _in_the_envelope(over.body):
        return warn(
            "body size: the 413 is not in OpenAI's envelope", f"JSON error pages in the proxy: {DEPLOY}"
        )
    return ok(f"body size: all agree on {limit} bytes")


def _in_the_envelope(body: bytes) -> bool:
    try:
        return "code" in json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return False


def buffering(answer: ProbeResponse) -> Diagnosis:
    """Whether events arrive as the upstream sends them, judged by their arrival times."""
    if answer.status != 200:
        what = f"buffering: the stream was answered with {answer.status}"
        return warn(what, "is the key right? else name another model with --model")
    coding = answer.headers.get("content-encoding", "identity")
    if coding != "identity":
        return warn(f"buffering: the stream is compressed ({coding}), which may delay events", "gzip off;")
    arrivals = answer.arrivals
    if len(arrivals) < TOO_FEW or arrivals[-1] < TOO_QUICK:
        what = f"buffering: {len(arrivals)} events in {max(arrivals, default=0):.2f} s are too few to judge"
        return warn(what, "a slower model: --model NAME")
    span, moments = arrivals[-1] - arrivals[0], _moments(arrivals)
    if span < arrivals[-1] / 10:
        return fail(
            f"buffering: {len(arrivals)} events came at once, after {arrivals[-1]:.1f} s",
            "a proxy buffers streams: respect X-Accel-Buffering, gzip off, "
            f"proxy_http_version 1.1, in every proxy on the path: {DEPLOY}",
        )
    if moments < len(arrivals) / 3:
        return warn(
            f"buffering: {len(arrivals)} events came in {moments} groups",
            "a proxy collects them, or the model sends groups: compare with the gateway's own address",
        )
    return ok(f"buffering: {len(arrivals)} events came one by one, over {span:.1f} s")


def _moments(arrivals: Sequence[float]) -> int:
    """The number of groups of arrivals. A gap of a quarter of the mean gap separates two groups."""
    usual = (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
    return 1 + sum(later - earlier > usual / 4 for earlier, later in pairwise(arrivals))
