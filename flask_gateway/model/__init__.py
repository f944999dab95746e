"""Defines the nouns of the gateway: call, reply, errors, and the protocols between packages."""
