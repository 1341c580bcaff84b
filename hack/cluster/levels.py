"""How much of a cluster runs, and which binaries each level needs."""

import enum

from hack.cluster import errors


class Level(enum.StrEnum):
    """The three sizes of a local cluster."""

    CONTROL_PLANE = "control-plane"
    KWOK = "kwok"
    NODE = "node"

    @classmethod
    def parse(cls, text: str) -> "Level":
        """Return the level of this name, or raise ClusterError that lists them."""
        try:
            return cls(text)
        except ValueError:
            message = f"{text!r} is not a level: use one of {', '.join(cls)}."
            raise errors.ClusterError(message) from None

    def binaries(self) -> tuple[str, ...]:
        """Return the programs to build for this level, quick ones first."""
        base = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        extra = {Level.CONTROL_PLANE: (), Level.KWOK: ("kwok",), Level.NODE: ("kubelet",)}
        return base + extra[self]


def combine(have: Level | None, want: Level, *, name: str) -> Level:
    """Return the level of a cluster that has one and is asked for another.

    A control plane grows into either of the others, and they satisfy a wish for a control plane. Fake and real nodes
    in one cluster would make every scheduling decision a surprise, so that is refused.
    """
    if have is None or have is want or have is Level.CONTROL_PLANE:
        return want
    if want is Level.CONTROL_PLANE:
        return have
    message = (
        f"cluster {name} has level {have}, not {want}: "
        f"take another name, or remove it with `python3 -m hack.cluster down --name {name}`."
    )
    raise errors.ClusterError(message)
