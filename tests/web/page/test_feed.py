"""The live feed: one rendering for all, slow subscribers, failures, a stop of the process, the bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count

import pytest
from kit.pages import PageClient, a_record, elements, words
from kit.waiting import until

from flask_gateway.web.page import feed as feeds
from flask_gateway.web.page.access import COOKIE
from flask_gateway.web.page.feed import Feed, FeedFull, reply_of
from flask_gateway.web.page.live import if_changed


def never() -> bool:
    return False


def a_feed(render: Callable[[], str] = lambda: "now", over: Callable[[], bool] = never) -> Feed:
    """A feed that renders only when the test ticks."""
    feed = Feed(render, over, period=1e6)
    feed._running = True
    return feed


def test_all_subscribers_get_one_rendering() -> None:
    numbers = count()
    feed = a_feed(lambda: str(next(numbers)))
    lines = [feed.subscribe() for _ in range(3)]
    assert [line.receive() for line in lines] == [None] * 3
    assert feed._tick()
    assert [line.receive() for line in lines] == [b'data: "0"\n\n'] * 3
    assert [line.receive() for line in lines] == [None] * 3
    for line in lines:
        line.close()
        line.close()
    assert len(feed) == 0
    assert not feed._tick()


def test_a_slow_subscriber_misses_figures_and_queues_none() -> None:
    numbers = count()
    feed = a_feed(lambda: str(next(numbers)))
    line = feed.subscribe()
    for _ in range(5):
        feed._tick()
    assert line.receive() == b'data: "4"\n\n'
    assert line.receive() is None
    line.release()


def test_a_line_feed_in_a_text_ends_no_event() -> None:
    feed = a_feed(lambda: "a\n\nb\r\ndata: c")
    line = feed.subscribe()
    feed._tick()
    data = line.receive()
    assert data is not None
    assert data.count(b"\n") == 2
    assert json.loads(data.removeprefix(b"data: ")) == "a\n\nb\r\ndata: c"
    line.close()


def test_a_failed_rendering_is_told_and_the_next_is_well(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([ValueError("broken"), "well"])

    def render() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    feed = a_feed(render)
    line = feed.subscribe()
    feed._tick()
    assert line.receive() == b": no figures now\n\n"
    assert "cannot be rendered" in caplog.text
    feed._tick()
    assert line.receive() == b'data: "well"\n\n'
    line.close()


def test_the_feed_ends_when_the_process_stops() -> None:
    feed = a_feed(over=lambda: True)
    reply = reply_of(feed.subscribe())
    feed._tick()
    assert reply.receive() == b""
    assert reply.over
    assert reply.receive() == b""
    assert len(feed) == 0


def test_a_subscription_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LONGEST", -1.0)
    feed = a_feed()
    line = feed.subscribe()
    feed._tick()
    assert line.receive() == b""
    line.close()


def test_a_caller_that_leaves_is_forgotten() -> None:
    feed = a_feed()
    reply = reply_of(feed.subscribe())
    assert reply.channel is not None
    reply.close()
    assert len(feed) == 0


def test_there_is_a_bound() -> None:
    feed = a_feed()
    lines = [feed.subscribe() for _ in range(feeds.MOST)]
    with pytest.raises(FeedFull):
        feed.subscribe()
    for line in lines:
        line.close()
    feed.subscribe().close()


@pytest.mark.parametrize("topic", ["overview", "upstreams", "requests"])
def test_live_figures_have_no_form_and_no_token(page: PageClient, topic: str) -> None:
    page.rings.observe(a_record(model="<script>\n\nalert(1)</script>"))
    page.rings.note("<script>\n\ndata: x")
    page.app.extensions["gateway_page.feeds"][topic]._period = 0.02
    answer = page.http.get(f"/ui/live?topic={topic}", buffered=False)
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    event = next(iter(answer.response))
    answer.close()
    html = json.loads(bytes(event).removeprefix(b"data: "))
    tags = {tag for tag, _ in elements(html)}
    assert not {"form", "button", "input", "script"} & tags
    assert page.form_token() not in html
    assert "cannot be looked at" not in words(html)
    shown = words(page.get(topic))
    assert words(html).split(" ")[0] in shown
    assert until(lambda: not page.app.extensions["gateway_page.feeds"][topic]._running)


def test_the_feed_is_for_admins_and_known_topics(page: PageClient) -> None:
    assert page.http.get("/ui/live?topic=settings").status_code == 400
    gateway = page.app.extensions["gateway"]
    gateway.draining.set()
    try:
        assert page.http.get("/ui/live?topic=overview").status_code == 503
    finally:
        gateway.draining.clear()
    page.http.delete_cookie(COOKIE, path="/ui")
    refused = page.http.get("/ui/live?topic=overview", headers={"Sec-Fetch-Mode": "cors"})
    assert refused.status_code == 401


def test_scripts_are_small_and_only_on_live_pages(page: PageClient) -> None:
    assert len(page.get("static/page.js")) < 10_000
    assert "data-live=overview" in page.get("overview")
    assert "data-since" not in page.get("requests")
    for path in ("overview?range=24h", "keys", "settings"):
        assert "page.js" not in page.get(path)


def test_the_requests_are_rendered_only_if_one_has_come(page: PageClient) -> None:
    rendered: list[int] = []

    def render() -> str:
        rendered.append(page.rings.arrived())
        return f"list {len(rendered)}"

    changed = if_changed(render, lambda: page.rings)
    assert [changed(), changed()] == ["list 1", "list 1"]
    page.rings.observe(a_record())
    assert until(lambda: page.rings.arrived() > rendered[0])
    assert [changed(), changed()] == ["list 2", "list 2"]
    assert if_changed(lambda: "without", lambda: None)() == "without"
