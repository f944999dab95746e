"""The button that runs `doctor`: its lines as they come, one at a time, and where it may not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.pages import HOSTILE, VIEWERS_KEY, PageClient, elements, words
from kit.waiting import until

from flask_gateway.state.contract import StoreFull
from flask_gateway.web.page import doctor
from flask_gateway.web.page.doctor import DoctorOutput, DoctorTranscript, line_of


def script(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run this code in the place of the doctor."""
    monkeypatch.setattr(doctor, "_COMMAND", code)


def test_its_lines_are_shown_and_it_may_run_again(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "print('ok    all is well'); print('fail  no disk  -> buy one')")
    for _ in range(2):
        answer = page.send("doctor")
        assert answer.status_code == 200
        assert answer.headers["X-Accel-Buffering"] == "no"
        said = words(answer.text)
        assert "● ok all is well" in said
        assert "■ fail no disk → buy one" in said
        assert said.index("no disk") < said.index("It has ended")
    assert "ran the doctor" in next(page.rings.notes()).text


def test_one_runs_at_a_time_and_ends_with_its_page(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "import time; print('ok    first', flush=True); time.sleep(600)")
    token = page.form_token()
    first = page.http.post("/ui/doctor", data={"csrf": token}, buffered=False)
    parts = iter(first.response)
    assert any(b"first" in part for part in parts)
    second = page.send("doctor")
    assert (second.status_code, "It runs already" in second.text) == (409, True)
    first.close()  # the admin closes the page, and the process is over
    script(monkeypatch, "print('ok    again')")
    assert "again" in page.send("doctor").text


def test_it_runs_while_the_store_is_broken(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise StoreFull("the store is full")

    monkeypatch.setattr(page.app.extensions["gateway"].leases, "acquire", broken)
    script(monkeypatch, "print('ok    still')")
    assert "still" in page.send("doctor").text


def test_where_no_process_may_start_the_page_says_the_command(
    page: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **named: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    for _ in range(2):  # the lease is given back
        answer = page.send("doctor")
        assert answer.status_code == 503
        assert "Operation not permitted" in answer.text
        assert "flask-gateway doctor" in answer.text


def test_a_viewer_has_no_button(page: PageClient) -> None:
    assert 'action="doctor"' in page.get("health")
    page.forget()
    page.log_in(VIEWERS_KEY)
    assert 'action="doctor"' not in page.get("health")
    assert page.send("doctor").status_code == 403


def test_an_alarm_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"signal.alarm({doctor.LONGEST})" in doctor._COMMAND
    script(monkeypatch, "import signal, time; signal.alarm(1); time.sleep(600)")
    output = DoctorOutput(doctor._started())
    assert output.read() == b""
    output.release()
    output.close()


def test_it_is_read_without_waiting() -> None:
    code = "import sys; print('ok    a', flush=True); sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    output = DoctorOutput(process)
    output.unblock()
    assert until(output.receive) == b"ok    a\n"
    assert output.receive() is None
    assert process.stdin
    process.stdin.close()
    assert until(lambda: output.receive() == b"")
    output.release()


def test_bytes_are_lines_however_they_come() -> None:
    text = "ok    gar\u00e7on\nwarn  x  -> y\nlast".encode()
    for size in (1, 2, 3, 100):
        transcript = DoctorTranscript("before<!-- lines -->after")
        parts = [transcript.feed(text[at : at + size]) for at in range(0, len(text), size)]
        html = b"".join([*parts, transcript.end()]).decode()
        assert html.startswith("before")
        assert html.endswith("after")
        assert "garçon" in html
        assert html.count("<li>") == 3


def test_hostile_lines_stay_text() -> None:
    for text in HOSTILE:
        shown = line_of(f"fail  {text}  -> {text}")
        assert {tag for tag, _ in elements(shown)} <= {"li", "span", "strong"}


@pytest.mark.live
def test_the_command_is_the_doctor(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", doctor._COMMAND],
        env={"GATEWAY_BIND": "127.0.0.1:9", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "settings:" in done.stdout, done.stderr
