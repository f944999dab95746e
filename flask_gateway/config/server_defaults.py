"""Defines the defaults of the server's settings: ``options.py`` and ``gunicorn.conf.py`` take them from here.

The master imports this module, and its workers inherit it. So it imports nothing.
"""

#: The address to listen on. Only this machine can connect.
BIND = "127.0.0.1:8000"
#: Threads of one worker. A call holds a thread until its answer ends, or until the relay takes its stream.
THREADS = 64
#: How long calls in flight may go on after a stop, seconds.
GRACEFUL_SECONDS = 30
#: Whether each worker stays on one core: ``auto`` where there is a core for each.
PIN_WORKERS = "auto"
#: gunicorn's own log level.
LOG_LEVEL = "info"
