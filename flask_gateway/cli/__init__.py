"""Runs the commands of ``flask-gateway``. May import every package but ``server``."""
