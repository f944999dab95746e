"""Reads the settings at start and when the settings file has changed.

The environment wins over the file, and the file over the defaults. Unknown names and invalid values are
refused. This package opens no connection, and neither prints nor keeps a caller's key. ``schema.py`` has the
resulting types, ``options.py`` the table of all settings. It imports ``model`` only.
"""

from .describe import changed, describe
from .errors import ConfigError
from .load import Resolved, load, resolve
from .server_checks import refuse_exposed_dev_key, refuse_exposed_short_keys, refuse_split_state
from .toml_file import files
from .warnings import Origin

__all__ = [
    "ConfigError",
    "Origin",
    "Resolved",
    "changed",
    "describe",
    "files",
    "load",
    "refuse_exposed_dev_key",
    "refuse_exposed_short_keys",
    "refuse_split_state",
    "resolve",
]
