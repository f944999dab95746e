"""Answers calls without a server: the ``mock://`` upstreams."""
