"""``python -m flask_gateway doctor [URL]``: what is wrong around a gateway that runs, and how to mend it.

``way.py`` looks at the way from a caller to it, ``machine.py`` at what it stands on, ``upstreams.py`` at
the way on. What is seen and what is made of it are two functions, the second of them pure.
"""
