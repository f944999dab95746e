"""Runs sixteen fault scenarios between the gateway and fake upstreams: ``python -m flask_gateway selftest``.

``scenarios.py`` lists the faults, ``verdicts.py`` judges the answers, ``harness.py`` runs a scenario.
"""
