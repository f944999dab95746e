"""How a call is called off from outside: by whoever learns that nobody wants its answer any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .errors import GatewayError

log = logging.getLogger(__name__)

Abort = Callable[[], None]


class _Attachment:
    """One ``abort``, and the thread that is in the middle of it, if any."""

    __slots__ = ("abort", "runner")

    def __init__(self, abort: Abort) -> None:
        self.abort = abort
        self.runner: int | None = None


class Cancellation:
    """Whether a call has been called off, and what is to be done when it is.

    One per call, shared by all threads, guarded by its lock, which is never held while an ``abort``
    runs. Every ``abort`` is called at most once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Made by the first who waits, which next to nobody does.
        self._changed: threading.Condition | None = None
        self._error: GatewayError | None = None
        self._attached: list[_Attachment] = []

    @property
    def error(self) -> GatewayError | None:
        """Why the call was called off; ``None`` as long as it was not."""
        return self._error

    def cancel(self, error: GatewayError) -> None:
        """Call the call off: every attached ``abort`` is called, on this thread, one after another.

        Only the first error counts. What an ``abort`` raises is logged, and the next is called.
        """
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            waiting = list(self._attached)
            self._tell()
        for attachment in waiting:
            self._abort(attachment)

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, but not beyond the call's end; whether that is what ended it."""
        with self._lock:
            return self._condition().wait_for(lambda: self._error is not None, seconds)

    def attach(self, abort: Abort) -> Callable[[], None]:
        """Have ``abort`` called when the call is called off; at once, on this thread, if it already is.

        :return: ``detach``. After it has returned, ``abort`` neither begins nor is in progress: it waits
            for an ``abort`` that another thread is in the middle of. Called from within that very
            ``abort`` it does not wait. So never detach while holding a lock that ``abort`` takes.
        """
        attachment = _Attachment(abort)
        with self._lock:
            cancelled = self._error is not None
            self._attached.append(attachment)
        if cancelled:
            self._abort(attachment)

        def detach() -> None:
            self._detach(attachment)

        return detach

    def _abort(self, attachment: _Attachment) -> None:
        with self._lock:
            if attachment not in self._attached or attachment.runner is not None:
                return
            attachment.runner = threading.get_ident()
        try:
            attachment.abort()
        except Exception:
            log.exception("an abort failed")
        finally:
            with self._lock:
                attachment.runner = None
                if attachment in self._attached:
                    self._attached.remove(attachment)
                self._tell()

    def _detach(self, attachment: _Attachment) -> None:
        with self._lock:
            if attachment in self._attached and attachment.runner is None:
                self._attached.remove(attachment)
            while attachment.runner not in (None, threading.get_ident()):
                self._condition().wait()

    def _condition(self) -> threading.Condition:
        """With the lock held."""
        if self._changed is None:
            self._changed = threading.Condition(self._lock)
        return self._changed

    def _tell(self) -> None:
        """Those who wait, with the lock held."""
        if self._changed is not None:
            self._changed.notify_all()
