"""Faults on purpose, on a real API server, and an observer who checks that nothing that matters breaks.

``python -m tests.chaos --seed N --faults N`` runs it; see ``__main__``.
"""
