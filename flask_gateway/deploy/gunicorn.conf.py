"""gunicorn's configuration file. ``flask-gateway serve`` and the file of a checkout use this one.

A reload executes this file again. It drops the old modules first, so that the settings, the hooks and the
worker class are those of the installed version.

gunicorn puts the current directory first in ``sys.path``. Where Python was started with ``-P``, as
``serve`` does, it is moved to the end, so that no file there takes the place of an installed module.
"""

import os
import sys

if sys.flags.safe_path:
    _here = [path for path in sys.path if path and os.path.realpath(path) == os.path.realpath(os.curdir)]
    sys.path[:] = [path for path in sys.path if path not in _here] + _here

for _name in [name for name in sys.modules if name.partition(".")[0] == "flask_gateway"]:
    del sys.modules[_name]

from flask_gateway.server.gunicorn_settings import *  # noqa: E402, F403
