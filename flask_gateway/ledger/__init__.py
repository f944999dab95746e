"""Keeps account of every call: a journal per worker, one bookkeeper, and a database of charges.

Imports `model` and `pricing`. Imported only where a data directory is set. A call appends to its worker's
journal and waits for no database. The bookkeeper, one thread on the machine, moves journals into SQLite:
lines and the place up to which they were read in one transaction, so that no line is counted twice or lost.
"""
