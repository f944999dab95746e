"""Runs the commands of ``python -m flask_gateway``. May import every package but ``server``."""
