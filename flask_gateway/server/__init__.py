"""Runs the application under gunicorn: worker class, client connections, threads, load shedding.

May import everything but ``web`` and ``cli``."""
