"""Whether AgentRuns can work here: facts about cluster, namespaces and volume in, one finding after the other out.

Pure: what was seen is a ``Sights``, made by ``cli.doctor``; nothing here asks anybody. ``CHECKS`` is the list of all
checks, in the order in which they are shown; docs/doctor.md is generated from it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from agentrun_operator import names
from agentrun_operator.doctor import cluster, places, volume
from agentrun_operator.doctor.findings import Finding, Level, Unknown
from agentrun_operator.doctor.places import find_claim, find_secrets
from agentrun_operator.doctor.reading import (
    parse_claim,
    parse_crd,
    parse_deployment,
    parse_lease,
    parse_node,
    parse_operator_pod,
    parse_quota,
    parse_secret,
    read_variables,
)
from agentrun_operator.doctor.rights import RIGHTS, plan_asks
from agentrun_operator.doctor.sights import (
    Api,
    Ask,
    Claim,
    Configuration,
    Crd,
    Deployment,
    Lease,
    LogRoot,
    Node,
    OperatorPod,
    Place,
    Probe,
    Quota,
    Review,
    SecretSeen,
    Sights,
    Space,
    Trial,
    Volume,
    Waiting,
)
from agentrun_operator.doctor.volume import parse_mount
from agentrun_operator.models import crd as models_crd

__all__ = [
    "CHECKS",
    "RIGHTS",
    "Api",
    "Ask",
    "Check",
    "Claim",
    "Configuration",
    "Crd",
    "Deployment",
    "Finding",
    "Lease",
    "Level",
    "LogRoot",
    "Node",
    "OperatorPod",
    "Place",
    "Probe",
    "Quota",
    "Review",
    "SecretSeen",
    "Sights",
    "Space",
    "Trial",
    "Unknown",
    "Volume",
    "Waiting",
    "examine",
    "find_claim",
    "find_secrets",
    "parse_claim",
    "parse_crd",
    "parse_deployment",
    "parse_lease",
    "parse_mount",
    "parse_node",
    "parse_operator_pod",
    "parse_quota",
    "parse_secret",
    "plan_asks",
    "read_variables",
    "worst",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``looks_at`` and ``fix`` are sentences for users; ``examine`` may find several things."""

    name: str
    looks_at: str
    fix: str
    examine: Callable[[Sights], Iterable[Finding]]


def _shipped() -> Crd:
    [version] = models_crd.build_crd()["spec"]["versions"]
    return Crd(served=(names.VERSION,), schema=version["schema"]["openAPIV3Schema"])


CHECKS = (
    Check(
        name="settings",
        looks_at="The operator's settings: those in the environment, or from a workstation those of its Deployment. A "
        "variable that is no setting may be a misspelt one.",
        fix="Correct the variable; agentrun operator --help lists all settings.",
        examine=cluster.check_settings,
    ),
    Check(
        name="api",
        looks_at=f"The API server answers and is of Kubernetes 1.{cluster.LEAST_MINOR} or newer.",
        fix="Check the kubeconfig or the service account, the network policy of the operator, and the API server.",
        examine=cluster.check_api,
    ),
    Check(
        name="clock",
        looks_at="The clock here and that of the API server differ by less than 5 s. Deadlines and heartbeats are "
        "reckoned with both.",
        fix="Have this machine's clock, and those of the control plane, set by NTP.",
        examine=cluster.check_clock,
    ),
    Check(
        name="crd",
        looks_at="The CRD is there, serves this operator's version, and has the schema that this operator ships; "
        "descriptions may differ. Who may not read the CRD is shown the schema that the API server publishes.",
        fix="Install the CRD of this operator's release: kubectl apply --server-side -f "
        "crds/paperclip.io_agentruns.yaml",
        examine=lambda seen: cluster.check_crd(seen, _shipped()),
    ),
    Check(
        name="rights",
        looks_at="Each verb that the operator uses is granted, asked one by one. In the operator's pod it asks for "
        "itself, from a workstation for the service account of the operator's Deployment.",
        fix="Install the operator's roles and their bindings (deploy/), or correct AGENTRUN_NAMESPACES.",
        examine=cluster.check_rights,
    ),
    Check(
        name="operator",
        looks_at="The operator's Deployment is ready, no two operators work at a time, and its pods are not restarted "
        "again and again.",
        fix="kubectl describe its pod, and read kubectl logs --previous.",
        examine=cluster.check_operator,
    ),
    Check(
        name="leader",
        looks_at="With several replicas: somebody holds the Lease and renews it.",
        fix="Look at the logs of all replicas for lease_acquired and lease_lost. All need the same "
        "AGENTRUN_LEADER_ELECTION_LEASE and AGENTRUN_POD_NAMESPACE.",
        examine=cluster.check_leader,
    ),
    Check(
        name="namespace",
        looks_at="The namespace of the AgentRuns is there and not being deleted.",
        fix="Create it, or correct AGENTRUN_NAMESPACES or -n.",
        examine=places.everywhere(places.check_namespace),
    ),
    Check(
        name="claim",
        looks_at="The PersistentVolumeClaim that an agent would mount is there and bound.",
        fix="Create it, or name another one with AGENTRUN_PVC_NAME; kubectl describe pvc says why it is not bound.",
        examine=places.everywhere(places.check_claim),
    ),
    Check(
        name="access-mode",
        looks_at="The claim's access mode fits the number of replicas and of nodes that agents may go to.",
        fix="Use a ReadWriteMany volume, or keep operator and agents on one node, by AGENTRUN_NODE_SELECTOR.",
        examine=places.everywhere(places.check_access_mode),
    ),
    Check(
        name="secrets",
        looks_at="The Secrets that an agent's pod names are there, with their keys, and hold something: those that "
        "every agent inherits and, with -f, those of one AgentRun. Their values are not shown.",
        fix="Create the Secret in the namespace of the AgentRuns, with the key that is named.",
        examine=places.everywhere(places.check_secrets),
    ),
    Check(
        name="quota",
        looks_at="The namespace's ResourceQuotas leave room for one more run: a Job, a Secret, and a pod with its "
        "requests and limits.",
        fix="Wait for other runs to end, lower spec.job.resources, or raise the ResourceQuota.",
        examine=places.everywhere(places.check_quota),
    ),
    Check(
        name="admission",
        looks_at="The API server would create the Job and the pod of a run: Pod Security, quotas, policies and "
        "webhooks are asked in a server-side dry run, and nothing is stored. The operator may not create pods, and "
        "should not, so the pod is tried from a workstation only.",
        fix="The message has the API server's own sentence: change spec.job, or the policy that it names.",
        examine=places.everywhere(places.check_admission),
    ),
    Check(
        name="image",
        looks_at="The agent's image has a sound reference with a fixed tag, no agent is stuck pulling it, and the "
        "nodes that report it have it already. Whether a node could pull it cannot be told without doing it.",
        fix="Correct AGENTRUN_IMAGE or spec.job.image; use a fixed tag or a digest; check the pull secrets.",
        examine=places.everywhere(places.check_image),
    ),
    Check(
        name="volume",
        looks_at="The shared volume is mounted where AGENTRUN_DATA_PATH says, and answers.",
        fix="Mount the claim of the agents in the operator's pod and set AGENTRUN_DATA_PATH to that place.",
        examine=volume.check_volume,
    ),
    Check(
        name="log-root",
        looks_at="The folder of run logs is there, agents (user and group 1000) can write to it and the operator can "
        "read it.",
        fix="On the volume: chown -R 1000:1000 the folder, chmod u+rwx it; or use a volume that honours fsGroup.",
        examine=volume.where_seen(volume.check_log_root),
    ),
    Check(
        name="probe",
        looks_at="A small file can be written beside the logs, renamed and read again; it is removed afterwards.",
        fix="The volume is full, read-only or broken, or not for the operator's user to write to: run it as user 1000.",
        examine=volume.where_seen(volume.check_probe),
    ),
    Check(
        name="visibility",
        looks_at="How long that file took to be seen, and how long the mount's attribute cache may hide what another "
        "node writes. A node cannot see the other one's delay itself: that part is read off the mount options.",
        fix="Check the file server; progress is as stale as the volume is slow.",
        examine=volume.where_seen(volume.check_visibility),
    ),
    Check(
        name="space",
        looks_at="At least a tenth of the volume is free, and of its inodes.",
        fix="Make the volume larger, or have logs and runs removed: spec.retention, AGENTRUN_HISTORY_LIMIT, "
        "AGENTRUN_BUNDLE_RETENTION_DAYS.",
        examine=volume.where_seen(volume.check_space),
    ),
)


def examine(seen: Sights) -> Iterator[Finding]:
    """What every check has to say, in the order of ``CHECKS``; where there is something to do, with a hint."""
    for check in CHECKS:
        for finding in check.examine(seen):
            hint = finding.hint or (check.fix if finding.level in {Level.WARN, Level.FAIL} else "")
            yield dataclasses.replace(finding, check=check.name, hint=hint)


def worst(found: Iterable[Finding]) -> Level:
    """The worst level of all; SKIP if there is nothing better."""
    return max((finding.level for finding in found), key=list(Level).index, default=Level.SKIP)
