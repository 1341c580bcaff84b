"""Build and install everything that a level needs, and nothing twice."""

import pathlib

from hack import images
from hack.cluster import build, levels, packages, prerequisites


def provision(level: levels.Level, *, agent_image: bool = True) -> pathlib.Path:
    """Return the folder of the binaries after making sure that all of the level's parts are on this machine.

    Raises MissingPrerequisite with the fix for whatever cannot be made available.
    """
    prerequisites.check(level)
    if level is levels.Level.NODE:
        packages.ensure(packages.missing_for_node(), why="a real node runs containerd, runc and CNI plugins")
    folder = build.ensure(level.binaries())
    if level is levels.Level.NODE:
        for name in image_names(agent_image=agent_image):
            images.build(name)
    return folder


def image_names(*, agent_image: bool) -> tuple[str, ...]:
    """Return the short names of the images that a node gets."""
    return ("pause", "busybox", "agent") if agent_image else ("pause", "busybox")
