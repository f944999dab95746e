"""Reading the settings: environment, then file, then defaults; whatever is unknown or unfit is refused.

At the start, and when a file has changed. Nothing here opens a connection, and nothing here prints or
keeps a caller's key. The types of what comes out are in ``config.py``.
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
