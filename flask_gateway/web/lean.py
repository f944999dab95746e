"""Flask, without the steps that lead nowhere here: sessions, coroutines, variable paths, corrected headers.

Each of them is a few microseconds of every request, and together they would be as many as the routing,
the limits and the breaker take. Whatever is registered in Flask's own ways still has its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask, Request, Response, appcontext_tearing_down, request_tearing_down
from flask.globals import request_ctx
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter, Rule


class _NoSessions(SessionInterface):
    """There are no cookies, neither read nor written."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none

    def save_session(self, app: Flask, session: object, response: Response) -> None:
        """Nothing."""


class _Matched:
    """What a path without variable parts leads to, found out before."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def match(self, *, return_rule: bool) -> tuple[Rule, dict[str, Any]]:
        return self._rule, {}


def _of_rooms(registered: Mapping[str | None, object]) -> bool:
    """Whether any of it is registered for a blueprint, and not for all requests."""
    return len(registered) > (None in registered)


class _Unparsed(Request):
    """A request of which no form is read, so that there are no files of it to be closed."""

    def close(self) -> None:
        """Nothing."""


class App(Flask):
    """Flask, but for what it would believe of the Host header: nothing here depends on it."""

    request_class = _Unparsed
    session_interface = _NoSessions()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url_map.merge_slashes = False  # it would answer with a redirect, to wherever Host says
        self._matched: dict[tuple[str, str], _Matched] | None = None

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        if self._matched is None:
            self._matched = self._match_all()
        found: Any = self._matched.get((request.method, request.path))
        if found is not None:
            return found  # type: ignore[no-any-return]  # as much of one as Flask asks for
        return self.url_map.bind("gateway", path_info=request.path, default_method=request.method)

    def _match_all(self) -> dict[tuple[str, str], _Matched]:
        """Of the first request on, when no route is added any more."""
        return {
            (method, rule.rule): _Matched(rule)
            for rule in self.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ()
        }

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def preprocess_request(self) -> Any:
        if self.url_value_preprocessors or _of_rooms(self.before_request_funcs):
            return super().preprocess_request()
        for before in self.before_request_funcs.get(None, ()):
            if (answer := before()) is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        if _of_rooms(self.after_request_funcs) or request_ctx._after_request_functions:
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


class Answer(Response):
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
        return self.response  # type: ignore[return-value]  # bytes, of which we know the length, or a reply
