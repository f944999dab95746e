"""``python -m flask_gateway selftest``: sixteen faults between the gateway and its upstreams, and a judge.

``scenarios.py`` lists the faults, ``verdicts.py`` says what is right, ``harness.py`` runs a scenario.
"""
