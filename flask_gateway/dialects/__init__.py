"""Reads and writes the wire formats of upstreams and callers: events, documents, errors. Opens no socket."""
