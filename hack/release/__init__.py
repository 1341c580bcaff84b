"""A release: everything that a person may publish, made in ``dist/`` by one command.

It publishes nothing, pushes nothing and sets no tag: ``docs/releasing.md`` says how a person does. ``judging`` says
whether this tree may be released, ``parts`` makes each file, ``python -m hack.release`` does the one, then the other.
"""
