"""What the server itself writes to its log about a request: never the request's own words.

gunicorn quotes what it cannot read, a header with a key in it for example, and a target with its query.
"""

from __future__ import annotations

import logging
import sys

from gunicorn.http.errors import ParseException

#: How gunicorn's messages about requests begin (``workers/base.py``, ``handle_error``).
_UNREADABLE = "Invalid request from ip="
_FAILED = "Error handling request"


def redact_request(record: logging.LogRecord) -> bool:
    """A filter for the server's log (``logging.Filter``): takes the caller's words out, keeps the line."""
    text = str(record.msg)
    error = record.exc_info[1] if record.exc_info else sys.exception()
    if text.startswith(_UNREADABLE):
        address = text.removeprefix(_UNREADABLE).partition(": ")[0]
        record.msg, record.args = "unreadable request from %r: %s", (address, type(error).__name__)
    elif text.startswith(_FAILED):
        record.msg, record.args = "a request failed in the server: %s", (type(error).__name__,)
        if isinstance(error, ParseException):
            record.exc_info = None  # its message is a quotation, too
    return True


def drop_timeouts(record: logging.LogRecord) -> bool:
    """A caller that fell silent is not worth a traceback in the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))
