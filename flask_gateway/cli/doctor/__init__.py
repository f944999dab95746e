"""Checks the environment of a running gateway: ``python -m flask_gateway doctor [URL]``.

``network_path.py`` checks the path from a caller to the gateway, ``host.py`` the machine, ``upstreams.py``
the path to the upstreams. One function collects facts; another, pure one makes the diagnosis.
"""
