"""Sends requests to upstreams over HTTP/1.1 and reads their answers."""
