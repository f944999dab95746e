"""Loads plugins (``plugin.py``) and runs their hooks."""
