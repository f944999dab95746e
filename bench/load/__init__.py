"""Provides the two ends of a benchmark, an upstream and callers, on raw sockets."""
