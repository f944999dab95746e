"""Compares FastFlask with Flask: hooks, signals, teardown functions and extensions behave the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    current_app,
    g,
    redirect,
    render_template_string,
    request,
    session,
    signals,
    stream_with_context,
    url_for,
)
from flask.sessions import SecureCookieSessionInterface
from kit.calls import AUTH, chat

from flask_gateway.web.fast_flask import CallResponse, FastFlask

#: Functions that register a hook, by a name for the test.
Register = Callable[[Flask, Blueprint, Callable[[str], None]], object]

#: The signals that Flask sends for each request.
SIGNALS = (
    "appcontext_popped",
    "appcontext_pushed",
    "appcontext_tearing_down",
    "request_finished",
    "request_started",
    "request_tearing_down",
)


def _passing(say: Callable[[str], None], what: str) -> Callable[..., object]:
    def after(response: Response) -> Response:
        say(f"{what} {response.status_code}")
        return response

    return after


REGISTERED: dict[str, Register] = {
    "before": lambda app, room, say: app.before_request(lambda: say("before")),
    "before in the room": lambda app, room, say: room.before_request(lambda: say("before room")),
    "before answers": lambda app, room, say: app.before_request(lambda: "early"),
    "after": lambda app, room, say: app.after_request(_passing(say, "after")),
    "after in the room": lambda app, room, say: room.after_request(_passing(say, "after room")),
    "after this": lambda app, room, say: app.before_request(
        lambda: after_this_request(_passing(say, "this")) and None
    ),
    "teardown": lambda app, room, say: app.teardown_request(lambda error: say(f"teardown {error}")),
    "teardown in the room": lambda app, room, say: room.teardown_request(lambda error: say(f"room {error}")),
    "teardown of the context": lambda app, room, say: app.teardown_appcontext(lambda error: say(f"{error}")),
    "values": lambda app, room, say: app.url_value_preprocessor(lambda endpoint, values: say(f"{endpoint}")),
}


def told(kind: type[Flask], ways: tuple[str, ...], path: str, signal: str | None = None) -> list[object]:
    """The events in an application of that class, and its response."""
    app, room, happened = kind("here"), Blueprint("room", "here"), []
    app.testing = False

    def view(name: str = "") -> Response:
        happened.append(f"view {name}")
        return Response(f"well {name}")

    def broken() -> Response:
        raise ValueError("broken")

    room.add_url_rule("/plain", view_func=view, provide_automatic_options=False)
    room.add_url_rule("/named/<name>", "named", view)
    room.add_url_rule("/broken", view_func=broken)
    room.add_url_rule("/answer", "answer", lambda: CallResponse(b"all", 200, "text/plain", [("x-one", "1")]))
    for way in ways:
        REGISTERED[way](app, room, happened.append)
    app.register_blueprint(room)

    def hear(sender: object, **more: object) -> None:
        happened.append(f"signal {more.get('exc')}")

    if signal is not None:
        getattr(signals, signal).connect(hear, app)
    answer = app.test_client().get(path)
    headers = [(name.lower(), value) for name, value in answer.headers]
    return [*happened, answer.status_code, answer.data, headers]


PATHS = ("/plain", "/named/one", "/broken", "/answer", "/nothing", "/plain?a=1")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", [*REGISTERED, None])
def test_registered_hooks_run_as_in_flask(way: str | None, path: str) -> None:
    ways = (way,) if way else ()
    assert told(FastFlask, ways, path) == told(Flask, ways, path)
    assert told(FastFlask, ("before", "after", *ways), path) == told(Flask, ("before", "after", *ways), path)


@pytest.mark.parametrize("status", [200, 201, 599])
def test_a_calls_response_has_the_status_and_the_headers_of_flasks_own(status: int) -> None:
    ours, flasks = (
        CallResponse(b"all", status, "text/plain", []),
        Response(b"all", status, content_type="text/plain"),
    )
    for response in (ours, flasks):
        response.headers["x-one"] = "1"
    assert list(ours.headers) == list(flasks.headers)
    assert (ours.status, ours.status_code, ours.data) == (flasks.status, flasks.status_code, flasks.data)
    ours.status_code = flasks.status_code = 404
    ours.data = flasks.data = b"none"
    assert (ours.status, ours.get_wsgi_headers({})) == (flasks.status, flasks.get_wsgi_headers({}))


def test_all_hooks_together_run_in_flasks_order() -> None:
    ways = tuple(way for way in REGISTERED if way != "before answers")
    for path in PATHS:
        assert told(FastFlask, ways, path) == told(Flask, ways, path)


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_are_sent(signal: str) -> None:
    for path in PATHS:
        here = told(FastFlask, (), path, signal)
        assert here == told(Flask, (), path, signal)
        assert any(str(one).startswith("signal") for one in here)


# ---------------------------------------------------------------- what extensions need


def extended(app: Flask) -> tuple[Flask, list[object]]:
    """The application with an extension's blueprint, and the events in it."""
    room, happened = Blueprint("admin", "here", url_prefix="/admin"), []

    @room.get("/")
    def index() -> str:
        g.user, g.code = "an extension's", "own"
        assert g.get("user") == g.pop("user") == "an extension's"
        assert list(g) == ["code"]
        return " ".join([url_for(".index"), url_for("models.list_models"), url_for(".named", name="a b")])

    @room.get("/named/<name>")
    def named(name: str) -> str:
        return url_for(".index", _external=True)

    @room.post("/form")
    def form() -> str:
        happened.append(request.files["file"])
        return request.form["field"]

    @room.before_request
    def before() -> None:
        happened.append("before")

    @app.after_request
    def after(response: Response) -> Response:
        response.call_on_close(lambda: happened.append(f"closed {response.status_code}"))
        return response

    app.register_blueprint(room)
    return app, happened


def test_url_for_and_attributes_of_g_work(app: Flask):
    client = extended(app)[0].test_client()
    answer = client.get("/admin/", headers=AUTH)
    assert (answer.status_code, answer.text) == (200, "/admin/ /v1/models /admin/named/a%20b")
    answer = client.get("/admin/named/x", headers={**AUTH, "Host": "gw.example:8443"})
    assert answer.text == "http://gw.example:8443/admin/"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("stream", [False, True])
def test_call_on_close_runs_once(app: Flask, stream: bool):
    app, happened = extended(app)
    client = app.test_client()
    for answer in (
        client.get("/v1/models", headers=AUTH),
        client.post("/v1/chat/completions", json=chat("mock", stream=stream), headers=AUTH),
        client.post("/v1/chat/completions", json=chat("nothing"), headers=AUTH),
    ):
        assert answer.data
        answer.close()
        assert happened == [f"closed {answer.status_code}"]
        happened.clear()


def test_call_on_close_runs_if_the_caller_leaves_a_stream(app: Flask):
    app, happened = extended(app)
    body = chat("mock", stream=True)
    answer = app.test_client().post("/v1/chat/completions", json=body, headers=AUTH, buffered=False)
    answer.close()
    assert happened == ["closed 200"]


def test_the_files_of_a_form_are_closed(app: Flask):
    app, happened = extended(app)
    form = {"field": "x", "file": (BytesIO(b"content"), "name")}
    answer = app.test_client().post("/admin/form", data=form, headers=AUTH)
    answer.close()
    assert answer.text == "x"
    assert happened[0] == "before"
    assert happened[1].stream.closed  # type: ignore[attr-defined]


def test_an_exception_before_the_request_has_ids_is_reported_as_itself(
    app: Flask, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise RuntimeError("the first fault")

    monkeypatch.setattr("flask_gateway.web.hooks.new_ids", broken)
    answer = app.test_client().get("/v1/models", headers=AUTH)
    assert answer.status_code == 500
    assert answer.json["error"]["code"] == "internal_error"  # type: ignore[index]


# ---------------------------------------------------------------- sessions, errors, contexts, streams


def _views(app: Flask) -> Flask:
    """The application with views that use Flask's other features."""
    room = Blueprint("features", "here", url_prefix="/features")

    @room.get("/session")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @room.get("/reads-session")
    def reads() -> str:
        return str(session.get("visits"))

    @room.get("/fault/<kind>")
    def fault(kind: str) -> str:
        raise {"key": KeyError, "value": ValueError}[kind]("fault")

    @room.get("/abort")
    def aborted() -> str:
        abort(418)

    @room.get("/stream")
    def stream() -> Response:
        def parts() -> Iterator[str]:
            yield request.args["a"]
            yield g.kept

        g.kept = "kept"
        return Response(stream_with_context(parts()), mimetype="text/plain")

    @room.get("/redirect")
    def elsewhere() -> Response:
        return redirect(url_for(".reads", _anchor="x"))  # type: ignore[return-value]

    @room.get("/template")
    def template() -> str:
        return render_template_string("{{ word }} {{ request.path }} {{ g.kept }} {{ url_for('.reads') }}")

    @room.context_processor
    def words() -> dict[str, str]:
        g.kept = "of g"
        return {"word": "<b>"}

    room.register_error_handler(KeyError, lambda error: ("the blueprint's", 409))
    room.register_error_handler(418, lambda error: ("a teapot", 418))
    room.record_once(lambda state: state.app.jinja_env.globals.update(state="recorded"))
    app.register_blueprint(room)
    return app


FEATURES = [
    "reads-session",
    "fault/key",
    "fault/value",
    "abort",
    "stream?a=1",
    "redirect",
    "template",
    "none",
]


@pytest.mark.parametrize("path", FEATURES)
def test_features_of_flask_answer_the_same(path: str) -> None:
    answers = []
    for kind in (FastFlask, Flask):
        client = _views(kind("here")).test_client()
        answer = client.get(f"/features/{path}", headers={"Host": "gw.example"})
        answers.append((answer.status_code, answer.data, sorted(answer.headers)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", [FastFlask, Flask])
def test_a_session_without_a_key_cannot_be_written(kind: type[Flask]) -> None:
    app = _views(kind("here"))
    app.testing = True
    with pytest.raises(RuntimeError, match="secret key"):
        app.test_client().get("/features/session")


def test_sessions_work_with_an_interface_of_the_applications_choice(app: Flask) -> None:
    app.secret_key = "a secret of the test"
    app.session_interface = SecureCookieSessionInterface()
    client = _views(app).test_client()
    assert [client.get("/features/session", headers=AUTH).text for _ in range(3)] == ["1", "2", "3"]
    with client.session_transaction() as stored:
        assert stored["visits"] == 3
    other = app.test_client()
    assert other.get("/features/reads-session", headers=AUTH).text == "None"


def test_an_extension_can_handle_its_errors_in_the_gateway(app: Flask) -> None:
    client = _views(app).test_client()
    assert client.get("/features/fault/key", headers=AUTH).status_code == 409
    answer = client.get("/features/fault/value", headers=AUTH)
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal_error")  # type: ignore[index]
    assert client.get("/features/abort", headers=AUTH).text == "a teapot"
    assert client.get("/features/stream?a=1", headers=AUTH).text == "1kept"
    assert client.get("/features/template", headers=AUTH).status_code == 200
    assert client.get("/features/template").status_code == 401, "an extension's route needs a key, too"


@pytest.mark.parametrize("kind", [FastFlask, Flask])
def test_contexts_can_be_pushed_by_hand(kind: type[Flask]) -> None:
    app = _views(kind("here"))
    ended: list[str] = []
    app.teardown_appcontext(lambda error: ended.append("context"))
    with app.test_request_context("/features/stream?a=1", headers={"Host": "gw.example"}):
        assert (request.endpoint, request.args["a"]) == ("features.stream", "1")
        assert url_for("features.reads", _external=True) == "http://gw.example/features/reads-session"
        g.value = 1
        assert g.value == 1
    with app.app_context():
        assert current_app._get_current_object() is app  # type: ignore[attr-defined]
    assert ended == ["context", "context"]
    with app.test_client() as client:
        client.get("/features/redirect?b=2")
        assert request.args["b"] == "2", "the client keeps the context"
