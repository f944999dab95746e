"""Shared fakes, servers and helpers of the tests. Tests import from here, never from each other."""
