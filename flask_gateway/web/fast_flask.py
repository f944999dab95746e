"""Flask, without the steps that lead nowhere here: sessions, coroutines, variable paths, corrected headers.

Each of them is a few microseconds of every request, and together they would be as many as the routing,
the limits and the breaker take. Whatever is registered in Flask's own ways still has its turn.
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
from werkzeug.routing import MapAdapter, Rule
from werkzeug.wsgi import ClosingIterator

from ..model.call import Outcome
from ..model.reply import Reply


class _NoSessions(SessionInterface):
    """There are no cookies, neither read nor written."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none

    def save_session(self, app: Flask, session: object, response: Response) -> None:
        """Nothing."""


_NO_SESSIONS = _NoSessions()
_is_coroutine = lru_cache(maxsize=256)(iscoroutinefunction)


class _Adapter:
    """Matches without a look at the Host header. For all else that an adapter is used for, such as building
    URLs, Flask's own is made, and only then.

    :param match: as that of :class:`werkzeug.routing.MapAdapter`. :param full: makes Flask's own.
    """

    def __init__(self, match: Callable[..., Any], full: Callable[[], MapAdapter | None]) -> None:
        self.match = match
        self._full = full

    def __getattr__(self, name: str) -> Any:
        return getattr(self._full(), name)


def _matched(rule: Rule) -> Callable[..., tuple[Rule, dict[str, Any]]]:
    """What a path without variable parts leads to, found out before."""

    def match(*, return_rule: bool) -> tuple[Rule, dict[str, Any]]:
        return rule, {}

    return match


def _of_rooms(registered: Mapping[str | None, object]) -> bool:
    """Whether any of it is registered for a blueprint, and not for all requests."""
    return len(registered) > (None in registered)


class _Unparsed(Request):
    """A request whose files are closed if there are any: a view may have read a form."""

    def close(self) -> None:
        if "files" in self.__dict__:
            super().close()


class FastFlask(Flask):
    """Flask, but for what it would believe of the Host header: nothing here depends on it."""

    request_class = _Unparsed
    session_interface = _NO_SESSIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url_map.merge_slashes = False  # it would answer with a redirect, to wherever Host says
        #: Gives the path of a route for another spelling of it.
        self.canonical: Callable[[str], str] = str
        self._matched: dict[tuple[str, str], _Adapter] | None = None
        self._process = 0
        self._beginning = threading.Lock()
        #: Called once in each process that serves, before its first request: whether there are others.
        self.begin: Callable[[bool], None] = lambda multiprocess: None

    def begin_here(self, multiprocess: bool) -> None:
        """Begin to serve in this process, if that was not done. A server may fork after it has loaded us."""
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
        # As it came: ``request.path`` has but one slash in front, however many there were.
        sent = request.environ.get("PATH_INFO") or "/"
        found: Any = self._matched.get((request.method, sent))
        if found is not None:
            return found  # type: ignore[no-any-return]  # it is as good as one
        adapter: Any = _Adapter(self._other_path(request.method, sent).match, self._full_adapter)
        return adapter  # type: ignore[no-any-return]

    def _full_adapter(self) -> MapAdapter | None:
        return super().create_url_adapter(request_ctx.request)

    def _other_path(self, method: str, sent: str) -> MapAdapter:
        path = sent.encode("latin-1").decode(errors="replace")  # PEP 3333
        canonical = self.canonical(path)
        if canonical.startswith("//"):
            canonical = "/." + canonical  # werkzeug would leave the first slash out
        return self.url_map.bind("gateway", path_info=canonical, default_method=method)

    def _match_all(self) -> dict[tuple[str, str], _Adapter]:
        """Of the first request on, when no route is added any more."""
        return {
            (method, rule.rule): _Adapter(_matched(rule), self._full_adapter)
            for rule in self.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ()
        }

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return super().ensure_sync(func) if _is_coroutine(func) else func

    def preprocess_request(self) -> Any:
        if self.url_value_preprocessors or _of_rooms(self.before_request_funcs):
            return super().preprocess_request()
        for before in self.before_request_funcs.get(None, ()):
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        if (
            _of_rooms(self.after_request_funcs)
            or request_ctx._after_request_functions
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


class CallResponse(Response):
    """An answer to a call, whose headers are sent as they are.

    :param body: all of it; or the reply, which the server iterates, and closes.
    :param told: further headers. They are our own words, or were looked at when they came, so that werkzeug
        need not look at each again.
    """

    def __init__(self, body: Any, status: int, content_type: str, told: list[tuple[str, str]]) -> None:
        super().__init__(body, status, content_type=content_type)
        self.direct_passthrough = not isinstance(body, bytes)
        self.told = told

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if (
            environ["REQUEST_METHOD"] == "HEAD"
            or not 200 <= self.status_code < 300
            or self.status_code == 204
        ):
            self.headers.extend(self.told)
            return super().__call__(environ, start_response)
        start_response(self.status, [*self.headers.to_wsgi_list(), *self.told])
        # Bytes, of which we know the length, or a reply, which the server has to see as it is.
        return self._closing() if self._on_close else self.response  # type: ignore[return-value]

    def _closing(self) -> Iterable[bytes]:
        """The body, with what was registered by ``call_on_close`` called at its end."""
        if not isinstance(self.response, Reply):
            return ClosingIterator(self.iter_encoded(), self.close)
        closers = self._on_close

        def close(outcome: Outcome) -> None:
            for func in closers:
                func()

        self.response.on_close(close)
        return self.response
