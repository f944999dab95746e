"""Where a scenario is played: two providers, the operator's own gateway before them, and a caller.

Each scenario has a stage of its own, so that they may be played at the same time.
"""

from __future__ import annotations

import secrets
import threading
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
from .client import ClientResponse, ask
from .fake_provider import POLL, Behaviour, Provider
from .verdicts import GRACE, Asked

#: The longest a caller waits, in the run's seconds: the budget of every scenario.
PATIENCE = 30.0

#: Making an application compiles its URLs, and in two threads at once CPython 3.11 fails at that now and
#: then, with "AST constructor recursion depth mismatch" (python/cpython#106905).
_BUILDING = threading.Lock()


class RunOptions(msgspec.Struct, frozen=True):
    """What all scenarios of one run have in common.

    :param settings: the operator's. :param model: whose route is played.
    :param route: the upstreams in it, whose settings the two providers take on.
    :param scale: how long one of the run's seconds is, seconds.
    :param whole: whether the caller asks for streams in one piece.
    """

    settings: Settings
    model: str
    route: tuple[str, ...]
    scale: float = 1.0
    whole: bool = False


class Harness:
    """One gateway and its two providers, from ``with`` to its end.

    :param primary: what the provider does that is asked first. :param fallback: the other.
    :param stream: whether the caller asks for streams.
    """

    def __init__(self, play: RunOptions, primary: Behaviour, fallback: Behaviour, *, stream: bool) -> None:
        self.play = play
        self._stream = stream
        self._behaviours = primary, fallback
        self._stack = ExitStack()
        self._key = secrets.token_hex(16)

    def __enter__(self) -> Harness:
        with ExitStack() as stack:  # whatever of it was opened is closed when the rest cannot be
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        providers = []
        for name, behaviour in zip(("primary-model", "fallback-model"), self._behaviours, strict=True):
            providers.append(Provider(name, behaviour, self.play.scale))
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
        """Be the caller of one request; with the answer, what the providers were asked meanwhile."""
        scale, before = self.play.scale, (len(self.primary.asked), len(self.fallback.asked))
        messages = [{"role": "user", "content": "Count to sixty."}]
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "x-request-timeout": f"{PATIENCE * scale:g}",
        }
        if self._stream and self.play.whole:
            headers["x-gateway-stream"] = "whole"
        body = {"model": self.play.model, "messages": messages, "stream": self._stream}
        answer = ask(self._port, body, headers, PATIENCE * scale + GRACE)
        primary, fallback = tuple(self.primary.asked[before[0] :]), tuple(self.fallback.asked[before[1] :])
        return answer, Asked(primary, fallback)

    def primary_left_alone(self) -> float:
        """For how much longer the gateway means not to ask the primary, seconds."""
        statuses = [breaker.status() for breaker in self._gateway.breakers]
        return max(one.retry_after or 0.0 for one in statuses if one.upstream == "primary")

    def _serve(self, app: Flask, stack: ExitStack) -> int:
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Door)
        thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="selftest gateway")
        thread.start()
        # Undone from the last to the first: no new request, then none under way, then the state.
        stack.callback(app.extensions["gateway"].store.close)
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        return server.server_port


class _Door(WSGIRequestHandler):
    """Frames answers, so that the caller can tell a broken one from a whole one; and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        pass


def rehearsed(play: RunOptions, urls: tuple[str, str], key: bytes) -> Settings:
    """The operator's settings with faulty upstreams in the route, time scaled, and no limits.

    :param urls: of the primary and of the fallback. :param key: the digest of the only key.
    """
    settings = play.settings
    by_name = {upstream.name: upstream for upstream in settings.upstreams}
    # A route of one upstream lends its settings to both.
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
    """The route to play when none is named: one that the operator has written, if there is one."""
    written = [*(model.name for model in settings.models), *settings.fallbacks]
    return [*written, settings.default_upstream or settings.upstreams[0].name][0]


def route_of(settings: Settings, model: str) -> tuple[str, ...]:
    """The names of the upstreams in the route of that model, each once, in order.

    :raises UnknownModel: it has none.
    """
    gateway = build(msgspec.structs.replace(settings, state="memory://"))
    tiers = gateway.routes.route(model).tiers
    gateway.store.close()
    return tuple(dict.fromkeys(target.upstream for tier in tiers for target in tier))


def _clocks(upstream: UpstreamSettings, play: RunOptions) -> Timeouts:
    """Those of the upstream in the run's seconds: all of them, also where none were set."""
    settings = play.settings
    clocks = upstream.clocks or Timeouts.within(
        settings.request_timeout_seconds, settings.answer_timeout_seconds
    )
    return Timeouts(**{name: getattr(clocks, name) * play.scale for name in clocks.__struct_fields__})
