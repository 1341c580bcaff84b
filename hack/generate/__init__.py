"""Generators: everything in the repository that is made from the models, and the check that it is not stale."""
