"""Runs ``flask-gateway doctor`` as a process of its own, and shows its lines as they come.

The answer is a reply whose source is the output of the process, so the relay carries it like a stream: no
thread waits for it, and it needs no script in the browser.
"""

from __future__ import annotations

import codecs
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress

from flask import Response

from ...app.build import Gateway
from ...model.call import Usage
from ...model.errors import GatewayError
from ...model.reply import Reply
from ...model.transcript import Passing
from ...state.contract import StoreError
from ...state.store import state_key
from ..fast_flask import CallResponse
from ..request_state import gateway
from .access import SAFE, tell
from .rendering import action, fragment, render

#: The longest that it may run, seconds. Its own alarm ends it, even if the worker has died.
LONGEST = 60
_COMMAND = (
    f"import signal, sys; signal.alarm({LONGEST}); "
    "from flask_gateway.cli.main import main; sys.exit(main(['doctor']))"
)
#: Where the lines stand in the page.
_PLACE = "<!-- lines -->"
_READ = 65536


class DoctorOutput:
    """The output of the process (a ``model.source.Source``), which is its own channel."""

    patience = math.inf
    holds = False

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self._process, self._pipe = process, process.stdout

    @property
    def channel(self) -> DoctorOutput:
        return self

    def fileno(self) -> int:
        return self._pipe.fileno()

    def unblock(self) -> None:
        """Read from now on without waiting."""
        os.set_blocking(self._pipe.fileno(), False)

    def receive(self) -> bytes | None:
        """The next output; ``None`` if there is none yet; ``b""`` at the end."""
        try:
            return os.read(self._pipe.fileno(), _READ)
        except BlockingIOError:
            return None

    def read(self) -> bytes:
        """Wait for output, for servers without the relay."""
        return os.read(self._pipe.fileno(), _READ)

    def expire(self) -> None:
        """Nothing: its own alarm ends it."""

    def release(self) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if it runs, and all that it has started."""
        if not self._pipe.closed:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._pipe.close()


class DoctorTranscript(Passing):
    """Makes HTML of the lines (a ``model.reply.Transcript``).

    :param page: with :data:`_PLACE` where the lines go.
    """

    usage: Usage | None = None
    content_type = "text/html; charset=utf-8"
    ping = b""

    def __init__(self, page: str) -> None:
        self._before, _, self._after = page.partition(_PLACE)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""

    def feed(self, data: bytes) -> bytes:
        *lines, self._rest = (self._rest + self._decode(data)).split("\n")
        before, self._before = self._before, ""
        return (before + "".join(map(line_of, lines))).encode()

    def end(self) -> bytes:
        last = line_of(self._rest) if self._rest else ""
        return (self._before + last + self._after).encode()

    def cut(self, error: GatewayError) -> bytes:
        return b""


def line_of(text: str) -> str:
    """One line of the output as HTML, which is escaped."""
    level, _, said = text.partition(" ")
    known = level in ("ok", "warn", "fail")
    what, _, remedy = (said if known else text).strip().partition("  -> ")
    return fragment("doctor-line.html", level=level if known else "", what=what, remedy=remedy)


@action("doctor")
def run_doctor() -> Response:
    here, key = gateway(), state_key("page_doctor", "")
    try:
        epoch = here.leases.acquire(key, 1)
        if not epoch:
            return _refused("It runs already, for another admin or in another window. Wait a minute.", 409)
    except StoreError:  # then it is needed most
        epoch = 0
    tell("ran the doctor")
    try:
        process = _started()
    except OSError as error:
        _leave(here, key, epoch)
        return _refused(f"This service may not start a process ({error.strerror}).", 503)
    page = render("doctor.html", title="Doctor", trouble="", longest=LONGEST)
    reply = Reply(DoctorOutput(process), DoctorTranscript(page.get_data(as_text=True)), "")
    reply.on_close(lambda outcome: _leave(here, key, epoch))
    headers = [*SAFE.items(), ("X-Accel-Buffering", "no")]
    return CallResponse(reply, 200, DoctorTranscript.content_type, headers)


def _leave(here: Gateway, key: str, epoch: int) -> None:
    if epoch:
        with suppress(StoreError):
            here.leases.release(key, epoch)


def _started() -> subprocess.Popen[bytes]:
    """:raises OSError: the unit forbids it, or the machine has no room for a process."""
    return subprocess.Popen(  # noqa: S603  its own program, with a fixed argument
        [sys.executable, "-c", _COMMAND],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )


def _refused(trouble: str, status: int) -> Response:
    return render("doctor.html", title="Doctor", status=status, trouble=trouble, longest=LONGEST)
