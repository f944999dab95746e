"""gunicorn's configuration file. ``flask-gateway serve`` and the file of a checkout use this one.

A reload executes this file again. It drops the old modules first, so that the settings, the hooks and the
worker class are those of the installed version.
"""

import sys

for _name in [name for name in sys.modules if name.partition(".")[0] == "flask_gateway"]:
    del sys.modules[_name]

from flask_gateway.server.gunicorn_settings import *  # noqa: E402, F403
