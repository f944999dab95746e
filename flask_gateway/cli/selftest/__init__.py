"""``python -m flask_gateway selftest``: sixteen faults between the gateway and its upstreams, and a judge.

Read ``scenarios.py`` for what happens, ``judge.py`` for what is right, ``stage.py`` for how it is played.
"""
