"""The lean application does what Flask does, for whatever is registered in Flask's own ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Blueprint, Flask, Response, after_this_request, signals

from flask_gateway.web.lean import Answer, App

#: What can be registered: how, by its name.
Register = Callable[[Flask, Blueprint, Callable[[str], None]], object]

#: Those that are sent of each request.
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
    """What happens in an application of that kind, and what it answers."""
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
    room.add_url_rule("/answer", "answer", lambda: Answer(b"all", 200, "text/plain", [("x-one", "1")]))
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
def test_what_is_registered_has_its_turn(way: str | None, path: str) -> None:
    ways = (way,) if way else ()
    assert told(App, ways, path) == told(Flask, ways, path)
    assert told(App, ("before", "after", *ways), path) == told(Flask, ("before", "after", *ways), path)


def test_all_of_it_at_once_in_the_same_order() -> None:
    ways = tuple(way for way in REGISTERED if way != "before answers")
    for path in PATHS:
        assert told(App, ways, path) == told(Flask, ways, path)


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_are_sent(signal: str) -> None:
    for path in PATHS:
        here = told(App, (), path, signal)
        assert here == told(Flask, (), path, signal)
        assert any(str(one).startswith("signal") for one in here)
