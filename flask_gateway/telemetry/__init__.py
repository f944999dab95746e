"""Observes requests: records, metrics and the log. An observer takes a ``RequestRecord`` and changes nothing.

May import ``model``, ``config`` and ``dialects``.
"""
