"""Reads the settings at start and when the settings file has changed.

The environment wins over the file, and the file over the defaults. Unknown names and invalid values are
refused. This package opens no connection, and neither prints nor keeps a caller's key. ``schema.py`` has the
resulting types, ``options.py`` the table of all settings, ``load.py`` reads them. It imports ``model`` only.
"""
