"""Runs the application under gunicorn: worker class, client connections, threads, load shedding.

May import every package except ``web`` and ``cli``.
"""
