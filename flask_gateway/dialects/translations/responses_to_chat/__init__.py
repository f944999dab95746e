"""Translates calls of the Responses API for upstreams that take only chat, and their answers back."""
