"""``python -m flask_gateway doctor [URL]``: what is wrong around a gateway that runs, and how to mend it.

``network_path.py`` looks at the path from a caller to the gateway, ``host.py`` at the machine,
``upstreams.py`` at the path to the upstreams. Each look is one function; the diagnosis is another, and pure.
"""
