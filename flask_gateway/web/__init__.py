"""Turns HTTP requests into calls, and replies and errors into responses. Only this package imports Flask."""
