"""Carries committed answers: the relay, buffered streams, resumed streams."""
