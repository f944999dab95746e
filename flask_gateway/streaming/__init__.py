"""Carries committed answers: the relay, buffered streams, resumed streams."""

#: After how long without data the caller of a stream gets a ping, seconds.
PING = 15.0
