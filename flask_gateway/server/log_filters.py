"""Filters gunicorn's log: removes request data and the tracebacks of timeouts.

gunicorn quotes what it cannot parse: for example a header with a key, or a target with its query.
"""

from __future__ import annotations

import logging
import sys

from gunicorn.http.errors import ParseException

#: How gunicorn's messages about requests begin (``workers/base.py``, ``handle_error``).
_UNREADABLE = "Invalid request from ip="
_FAILED = "Error handling request"


def redact_request(record: logging.LogRecord) -> bool:
    """Remove the request's data from a line, and keep the line (a ``logging.Filter``)."""
    text = str(record.msg)
    error = record.exc_info[1] if record.exc_info else sys.exception()
    if text.startswith(_UNREADABLE):
        address = text.removeprefix(_UNREADABLE).partition(": ")[0]
        record.msg, record.args = "unreadable request from %r: %s", (address, type(error).__name__)
    elif text.startswith(_FAILED):
        record.msg, record.args = "a request failed in the server: %s", (type(error).__name__,)
        if isinstance(error, ParseException):
            record.exc_info = None  # its message quotes the request, too
    return True


def drop_timeouts(record: logging.LogRecord) -> bool:
    """Drop the traceback of a caller that timed out (a ``logging.Filter``)."""
    return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))
