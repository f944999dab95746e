"""Finds the upstreams for a model, asks them in order, and decides on retries."""
