"""Translations between APIs. ``table.py`` lists them; each pair has a module of its own."""
