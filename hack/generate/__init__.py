"""Generators: everything in the repository that is made from the code, and the check that it is not stale."""
