"""Computes what an answer costs: a table of prices that ships with the package, and overrides of it.

Imports `model` only. Nothing here does I/O but reading the table, and nothing downloads.
"""
