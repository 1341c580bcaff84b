"""Measurements on real components: ``python -m hack.bench.slice`` for the path of one run and the operator's memory."""
