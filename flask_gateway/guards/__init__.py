"""Admits or refuses calls: limits, bulkheads, circuit breakers, memory. Imports only ``model`` and ``state``.

The decisions are pure functions. The guards apply them to the state in a store.
"""
