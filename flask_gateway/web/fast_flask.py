"""Subclasses Flask and skips steps the gateway does not need: sessions, coroutines, host matching.

Each step costs a few microseconds of every request. Together they would cost as much as routing, limits and
breaker. Hooks, signals and teardown functions registered with Flask still run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any

from flask import Flask, Request, Response, appcontext_tearing_down, request_tearing_down
from flask.globals import request_ctx
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter, Rule
from werkzeug.wsgi import ClosingIterator

from ..model.call import Outcome
from ..model.reply import Reply


class _NoSessions(SessionInterface):
    """The gateway reads and writes no cookies."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none

    def save_session(self, app: Flask, session: object, response: Response) -> None:
        """Save nothing."""


_NO_SESSIONS = _NoSessions()
_is_coroutine = lru_cache(maxsize=256)(iscoroutinefunction)


class _Adapter:
    """Matches a path without reading the Host header. Every other use, such as building URLs, creates Flask's
    own adapter on demand.

    :param match: as that of :class:`werkzeug.routing.MapAdapter`. :param full: creates Flask's own adapter.
    """

    def __init__(self, match: Callable[..., Any], full: Callable[[], MapAdapter | None]) -> None:
        self.match = match
        self._full = full

    def __getattr__(self, name: str) -> Any:
        return getattr(self._full(), name)


def _matched(rule: Rule) -> Callable[..., tuple[Rule, dict[str, Any]]]:
    """The match of a path without variable parts, prepared in advance."""

    def match(*, return_rule: bool) -> tuple[Rule, dict[str, Any]]:
        return rule, {}

    return match


def _has_blueprint_hooks(registered: Mapping[str | None, object]) -> bool:
    """Whether any hook belongs to one blueprint. Hooks under ``None`` run for all requests."""
    return len(registered) > (None in registered)


class _Request(Request):
    """A request that closes its files only if a view has parsed a form."""

    def close(self) -> None:
        if "files" in self.__dict__:
            super().close()


class FastFlask(Flask):
    """Flask without host matching: routing ignores the Host header."""

    request_class = _Request
    session_interface = _NO_SESSIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url_map.merge_slashes = False  # werkzeug would redirect to the host that Host names
        #: Returns the route's path for another spelling of it.
        self.canonical: Callable[[str], str] = str
        self._matched: dict[tuple[str, str], _Adapter] | None = None
        self._process = 0
        self._beginning = threading.Lock()
        #: Called once in each process before its first request, with whether there are other processes.
        self.begin: Callable[[bool], None] = lambda multiprocess: None

    def begin_here(self, multiprocess: bool) -> None:
        """Prepare this process to serve, once. A server may fork after it has imported the application."""
        with self._beginning:
            if self._process != os.getpid():
                self.begin(multiprocess)
                self._process = os.getpid()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._process != os.getpid():
            self.begin_here(bool(environ.get("wsgi.multiprocess")))
        return self.wsgi_app(environ, start_response)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(None)
        if self._matched is None:
            self._matched = self._match_all()
        # The raw path: ``request.path`` merges leading slashes into one.
        sent = request.environ.get("PATH_INFO") or "/"
        adapter: Any = self._matched.get((request.method, sent))
        if adapter is None:
            adapter = _Adapter(self._other_path(request.method, sent).match, self._full_adapter)
        return adapter  # type: ignore[no-any-return]  # it has all that Flask uses of an adapter

    def _full_adapter(self) -> MapAdapter | None:
        return super().create_url_adapter(request_ctx.request)

    def _other_path(self, method: str, sent: str) -> MapAdapter:
        path = sent.encode("latin-1").decode(errors="replace")  # PEP 3333
        canonical = self.canonical(path)
        if canonical.startswith("//"):
            canonical = "/." + canonical  # werkzeug would drop the first slash
        return self.url_map.bind("gateway", path_info=canonical, default_method=method)

    def _match_all(self) -> dict[tuple[str, str], _Adapter]:
        """Prepare the matches at the first request, after which Flask accepts no more routes."""
        return {
            (method, rule.rule): _Adapter(_matched(rule), self._full_adapter)
            for rule in self.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ()
        }

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return super().ensure_sync(func) if _is_coroutine(func) else func

    def preprocess_request(self) -> Any:
        if self.url_value_preprocessors or _has_blueprint_hooks(self.before_request_funcs):
            return super().preprocess_request()
        for before in self.before_request_funcs.get(None, ()):
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        if (
            _has_blueprint_hooks(self.after_request_funcs)
            or request_ctx._get_current_object()._after_request_functions  # type: ignore[attr-defined]
            or self.session_interface is not _NO_SESSIONS
        ):
            return super().process_response(response)
        for after in reversed(self.after_request_funcs.get(None, ())):
            response = after(response)
        return response

    def do_teardown_request(self, *error: Any) -> None:
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*error)

    def do_teardown_appcontext(self, *error: Any) -> None:
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            super().do_teardown_appcontext(*error)


_OK = ("200 OK", 200)


class CallResponse(Response):
    """The response to a call. Its extra headers bypass werkzeug.

    :param body: the complete body, or the reply, which the server iterates and closes.
    :param raw_headers: extra headers. The gateway made or checked them, so werkzeug need not check again.
    """

    def __init__(self, body: Any, status: int, content_type: str, raw_headers: list[tuple[str, str]]) -> None:
        # As werkzeug's constructors do, without their checks: they would take a fiftieth of a call's time.
        self._status, self._status_code = _OK if status == 200 else self._clean_status(status)
        self._on_close = []
        self.headers = headers = Headers()
        headers._list.append(("Content-Type", content_type))
        self.direct_passthrough = not isinstance(body, bytes)
        if self.direct_passthrough:
            self.response = body
        else:
            self.response = [body]
            headers._list.append(("Content-Length", str(len(body))))
        self.raw_headers = raw_headers

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if (
            environ["REQUEST_METHOD"] == "HEAD"
            or not 200 <= self.status_code < 300
            or self.status_code == 204
        ):
            self.headers.extend(self.raw_headers)
            return super().__call__(environ, start_response)
        start_response(self.status, [*self.headers.to_wsgi_list(), *self.raw_headers])
        # The body is bytes of known length, or a reply, which the server must get unwrapped.
        return self._closing() if self._on_close else self.response  # type: ignore[return-value]

    def _closing(self) -> Iterable[bytes]:
        """The body; the functions registered with ``call_on_close`` run at its end."""
        if not isinstance(self.response, Reply):
            return ClosingIterator(self.iter_encoded(), self.close)
        closers = self._on_close

        def close(outcome: Outcome) -> None:
            for func in closers:
                func()

        self.response.on_close(close)
        return self.response
