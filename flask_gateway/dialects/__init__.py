"""Reads and writes what upstreams and callers say. Knows no socket."""
