"""Reading the settings: environment, then file, then defaults; whatever is unknown or unfit is refused.

Start-up only. Nothing here opens a connection, and nothing here prints or keeps a caller's key. The
types of what comes out are in ``config.py``.
"""

from .describe import describe
from .refusal import ConfigError
from .resolve import Origin, Resolved, load, resolve
from .serving import refuse_exposed_dev_key, refuse_split_state

__all__ = [
    "ConfigError",
    "Origin",
    "Resolved",
    "describe",
    "load",
    "refuse_exposed_dev_key",
    "refuse_split_state",
    "resolve",
]
