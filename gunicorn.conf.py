"""The server's settings: ``gunicorn -c gunicorn.conf.py wsgi:app``. The package has their substance."""

from importlib.resources import files

exec((files("flask_gateway") / "deploy" / "gunicorn.conf.py").read_text("utf-8"))
