"""The commands of ``python -m flask_gateway``."""
