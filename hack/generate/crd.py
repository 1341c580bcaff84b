"""The CustomResourceDefinition; it is built in the package, since ``agentrun doctor`` compares a cluster's with it."""

from agentrun_operator.models.crd import build_crd

__all__ = ["build_crd"]
