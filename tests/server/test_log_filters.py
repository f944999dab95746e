"""Tests the filters of gunicorn's log: no line quotes a request, and no timeout prints a traceback."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from gunicorn.http.errors import InvalidHeader
from kit.planted import KEY

from flask_gateway.server.log_filters import drop_timeouts, redact_request


def record(text: str, error: BaseException | None = None, *args: Any) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, text, args, info)


def test_an_unreadable_request_is_named_by_address_and_class_alone() -> None:
    line = record(f"Invalid request from ip=127.0.0.1: Invalid HTTP Header: 'x {KEY}'", InvalidHeader(KEY))
    assert redact_request(line)
    assert line.getMessage() == "unreadable request from '127.0.0.1': InvalidHeader"


def test_the_class_is_found_while_the_error_is_handled() -> None:
    line = record(f"Invalid request from ip=::1: {KEY}")
    try:
        raise InvalidHeader(KEY)
    except InvalidHeader:
        redact_request(line)
    assert line.getMessage() == "unreadable request from '::1': InvalidHeader"


@pytest.mark.parametrize(("error", "printed"), [(InvalidHeader(KEY), False), (ValueError("ours"), True)])
def test_a_traceback_that_quotes_the_request_is_removed(error: Exception, printed: bool) -> None:
    line = record(f"Error handling request /v1/x?key={KEY}", error)
    assert redact_request(line)
    assert KEY not in line.getMessage()
    assert bool(line.exc_info) is printed


def test_other_lines_pass_unchanged() -> None:
    line = record("Booting worker with pid: %s", None, 7)
    assert redact_request(line)
    assert drop_timeouts(line)
    assert line.getMessage() == "Booting worker with pid: 7"


@pytest.mark.parametrize(("error", "kept"), [(TimeoutError(), False), (OSError(), True)])
def test_a_timeout_of_a_caller_is_not_logged(error: Exception, kept: bool) -> None:
    assert drop_timeouts(record("Socket error", error)) is kept
    assert sys.exception() is None
