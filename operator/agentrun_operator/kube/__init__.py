"""The one door to the Kubernetes API: few verbs, typed values in, facts out, every failure one of ``errors``.

``KubeClient`` is the seam: the runner and the handlers know only this protocol, tests give them a fake. The one
implementation sits on the transport of ``kubernetes.aio`` (kubeconfig and in-cluster credentials, token refresh, TLS)
and exchanges plain JSON: the generated model classes would cost more CPU per object than everything else here.

Nothing here retries: only the caller knows whether "no answer" may be tried again and for how long.
"""

from agentrun_operator.kube.client import Event, KubeClient, Ref
from agentrun_operator.kube.connection import connect, connect_inspector
from agentrun_operator.kube.credentials import Credentials, default_namespace
from agentrun_operator.kube.credentials import read as read_credentials
from agentrun_operator.kube.election import Election, LeaseClient, Terms
from agentrun_operator.kube.http import HttpKubeClient
from agentrun_operator.kube.inspection import Greeting, Inspector
from agentrun_operator.kube.meter import Observe, nobody, trace
from agentrun_operator.kube.reflector import Mirror, Reflector, Source
from agentrun_operator.kube.refusal import api_error
from agentrun_operator.kube.watches import close_after_watch

__all__ = [
    "Credentials",
    "Election",
    "Event",
    "Greeting",
    "HttpKubeClient",
    "Inspector",
    "KubeClient",
    "LeaseClient",
    "Mirror",
    "Observe",
    "Ref",
    "Reflector",
    "Source",
    "Terms",
    "api_error",
    "close_after_watch",
    "connect",
    "connect_inspector",
    "default_namespace",
    "nobody",
    "read_credentials",
    "trace",
]
