"""Cancels a call from another thread, when its caller has left or its deadline has passed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .errors import GatewayError

log = logging.getLogger(__name__)

Abort = Callable[[], None]


class _Attachment:
    """One ``abort`` callback, and the thread that is running it, if any."""

    __slots__ = ("abort", "runner")

    def __init__(self, abort: Abort) -> None:
        self.abort = abort
        self.runner: int | None = None


class Cancellation:
    """Whether a call is cancelled, and the callbacks to run when it is.

    There is one per call, shared by all threads and guarded by its lock. The lock is never held while an
    ``abort`` runs. Every ``abort`` is called at most once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Created by the first thread that waits, because almost no call needs it.
        self._changed: threading.Condition | None = None
        self._error: GatewayError | None = None
        self._attached: list[_Attachment] = []

    @property
    def error(self) -> GatewayError | None:
        """Why the call was cancelled; ``None`` if it is not cancelled."""
        return self._error

    def cancel(self, error: GatewayError) -> None:
        """Cancel the call: run every attached ``abort`` on this thread, one after another.

        Only the first error counts. If an ``abort`` raises, the exception is logged and the next one runs.
        """
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            attached = list(self._attached)
            self._notify()
        for attachment in attached:
            self._abort(attachment)

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until the call is cancelled. Return whether it was cancelled."""
        with self._lock:
            return self._condition().wait_for(lambda: self._error is not None, seconds)

    def attach(self, abort: Abort) -> Callable[[], None]:
        """Run ``abort`` when the call is cancelled. If it is cancelled already, run it now on this thread.

        :return: ``detach``. After it has returned, ``abort`` neither starts nor runs: ``detach`` waits for an
            ``abort`` that another thread is running. Called from within that ``abort``, it does not wait.
            So never detach while holding a lock that ``abort`` takes.
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
        except Exception:  # the other attachments must be aborted, too
            log.exception("an abort failed")
        finally:
            with self._lock:
                attachment.runner = None
                if attachment in self._attached:
                    self._attached.remove(attachment)
                self._notify()

    def _detach(self, attachment: _Attachment) -> None:
        with self._lock:
            if attachment.runner is None:
                if attachment in self._attached:
                    self._attached.remove(attachment)
                return
            while attachment.runner not in (None, threading.get_ident()):
                self._condition().wait()

    def _condition(self) -> threading.Condition:
        """Return the condition. Called with the lock held."""
        if self._changed is None:
            self._changed = threading.Condition(self._lock)
        return self._changed

    def _notify(self) -> None:
        """Wake the waiting threads. Called with the lock held."""
        if self._changed is not None:
            self._changed.notify_all()
