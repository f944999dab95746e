"""Sets up a scenario: two scripted providers, a gateway with the operator's settings, and a caller.

Each scenario has its own harness, so scenarios can run in parallel.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from hashlib import sha256

import msgspec
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from ... import create_app
from ...app.build import Gateway, build
from ...config.schema import (
    CandidateSettings,
    KeySettings,
    ModelSettings,
    Settings,
    Timeouts,
    UpstreamSettings,
)
from .client import Api, ClientResponse, ask
from .scripted_provider import POLL, Behaviour, ScriptedProvider
from .verdicts import GRACE, Asked

#: The caller's timeout, in seconds of the run: the time budget of every scenario.
PATIENCE = 30.0

#: Creating an application compiles its URL rules. In two threads at once, CPython 3.11 sometimes fails
#: at that with "AST constructor recursion depth mismatch" (python/cpython#106905).
_BUILDING = threading.Lock()


_QUESTION = "Count to sixty."
#: The fields of a request, by API.
_QUESTIONS: Mapping[Api, Mapping[str, object]] = {
    Api.CHAT: {"messages": [{"role": "user", "content": _QUESTION}]},
    Api.RESPONSES: {"input": _QUESTION, "store": False},
    Api.MESSAGES: {"messages": [{"role": "user", "content": _QUESTION}], "max_tokens": 1000},
}


class RunOptions(msgspec.Struct, frozen=True):
    """The options that all scenarios of a run share.

    :param settings: the operator's settings. :param model: the model whose route is tested.
    :param route: the upstreams in the route. The two providers get their settings.
    :param scale: the length of a second of the run, seconds.
    :param whole: whether the caller asks for buffered streams. :param api: of the caller.
    """

    settings: Settings
    model: str
    route: tuple[str, ...]
    scale: float = 1.0
    whole: bool = False
    api: Api = Api.CHAT


class Harness:
    """Runs one gateway and its two providers inside a ``with`` block.

    :param primary: the behaviour of the first provider. :param fallback: of the second.
    :param stream: whether the caller asks for streams.
    """

    def __init__(self, play: RunOptions, primary: Behaviour, fallback: Behaviour, *, stream: bool) -> None:
        self.play = play
        self._stream = stream
        self._behaviours = primary, fallback
        self._stack = ExitStack()
        self._key = secrets.token_hex(16)

    def __enter__(self) -> Harness:
        with ExitStack() as stack:  # if a later step fails, close what is open
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        providers = []
        for name, behaviour in zip(("primary-model", "fallback-model"), self._behaviours, strict=True):
            providers.append(ScriptedProvider(name, behaviour, self.play.scale))
            stack.callback(providers[-1].close)
        self.primary, self.fallback = providers
        urls = (self.primary.url, self.fallback.url)
        key = sha256(self._key.encode()).digest()
        with _BUILDING:
            app = create_app(rehearsed(self.play, urls, key))
        self._gateway: Gateway = app.extensions["gateway"]
        self._port = self._serve(app, stack)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self) -> tuple[ClientResponse, Asked]:
        """Send one request. Returns the answer and the requests that the providers received meanwhile."""
        scale, before = self.play.scale, (len(self.primary.asked), len(self.fallback.asked))
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "x-request-timeout": f"{PATIENCE * scale:g}",
        }
        if self._stream and self.play.whole:
            headers["x-gateway-stream"] = "whole"
        asked = _QUESTIONS[self.play.api]
        body = {"model": self.play.model, "stream": self._stream, **asked}
        answer = ask(self._port, body, headers, PATIENCE * scale + GRACE, self.play.api)
        primary, fallback = tuple(self.primary.asked[before[0] :]), tuple(self.fallback.asked[before[1] :])
        return answer, Asked(primary, fallback, self.play.model)

    def primary_retry_after(self) -> float:
        """How much longer the gateway will skip the primary, seconds."""
        statuses = [breaker.status() for breaker in self._gateway.breakers]
        return max(status.retry_after or 0.0 for status in statuses if status.upstream == "primary")

    def _serve(self, app: Flask, stack: ExitStack) -> int:
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_RequestHandler)
        thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="selftest gateway")
        thread.start()
        # Run in reverse order: refuse new requests, finish those in flight, then close the store.
        stack.callback(app.extensions["gateway"].store.close)
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        return server.server_port


class _RequestHandler(WSGIRequestHandler):
    """Frames answers (HTTP/1.1), so that the caller can detect a broken one. Logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        pass


def rehearsed(play: RunOptions, urls: tuple[str, str], key: bytes) -> Settings:
    """The operator's settings with the fake upstreams in the route, scaled times, and no limits.

    :param urls: of the primary and of the fallback. :param key: the digest of the only key.
    """
    settings = play.settings
    by_name = {upstream.name: upstream for upstream in settings.upstreams}
    # In a route with one upstream, both providers get its settings.
    first, second = by_name[play.route[0]], by_name[play.route[1 if len(play.route) > 1 else 0]]
    upstreams = tuple(
        msgspec.structs.replace(one, name=name, url=url, api_key=None, clocks=_clocks(one, play))
        for one, name, url in zip((first, second), ("primary", "fallback"), urls, strict=True)
    )
    tiers = tuple((CandidateSettings(upstream=one.name, model=f"{one.name}-model"),) for one in upstreams)
    model = next((one for one in settings.models if one.name == play.model), None)
    model = model or ModelSettings(name=play.model, tiers=tiers)
    return msgspec.structs.replace(
        settings,
        keys=(KeySettings(id="selftest", digest=key),),
        upstreams=upstreams,
        models=(msgspec.structs.replace(model, tiers=tiers),),
        fallbacks={},
        default_upstream=None,
        rate_limit_per_minute=0,
        max_concurrent_per_key=0,
        circuit_breaker_reset_seconds=settings.circuit_breaker_reset_seconds * play.scale,
        circuit_breaker_slow_seconds=settings.circuit_breaker_slow_seconds * play.scale,
        request_timeout_seconds=settings.request_timeout_seconds * play.scale,
        answer_timeout_seconds=settings.answer_timeout_seconds * play.scale,
        state="memory://",
        log="json",
        machines=1,
    )


def first_model(settings: Settings) -> str:
    """The model to test by default: the first with a configured route, if there is one."""
    configured = [*(model.name for model in settings.models), *settings.fallbacks]
    return [*configured, settings.default_upstream or settings.upstreams[0].name][0]


def route_of(settings: Settings, model: str) -> tuple[str, ...]:
    """The names of the upstreams in the route of that model, in order, without duplicates.

    :raises UnknownModel: the model has no route.
    """
    gateway = build(msgspec.structs.replace(settings, state="memory://"))
    tiers = gateway.routes.route(model).tiers
    gateway.store.close()
    return tuple(dict.fromkeys(target.upstream for tier in tiers for target in tier))


def _clocks(upstream: UpstreamSettings, play: RunOptions) -> Timeouts:
    """All timeouts of the upstream, derived ones included, scaled to the run.

    Those that its kind brings are the general ones here: hosted models may think for minutes before the first
    word, and no scenario takes so long.
    """
    settings, brought = play.settings, upstream.of_kind.clocks
    general = Timeouts.within(settings.request_timeout_seconds, settings.answer_timeout_seconds)
    clocks = upstream.clocks or general
    seconds = {name: getattr(clocks, name) for name in clocks.__struct_fields__}
    own = {name: value for name, value in seconds.items() if brought.get(name) != value}
    return Timeouts(**{name: own.get(name, getattr(general, name)) * play.scale for name in seconds})
