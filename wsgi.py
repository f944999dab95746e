"""Makes the application for a WSGI server: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from flask_gateway import create_app

app = create_app()
