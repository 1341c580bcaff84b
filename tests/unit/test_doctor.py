"""``agentrun doctor``: what each check makes of what was seen, as a table; each is made to pass and to fail."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import yaml

from agentrun_operator import doctor, settings
from agentrun_operator.doctor import quantities, schema
from agentrun_operator.models import crd as models_crd
from hack import playground

[SERVED] = models_crd.build_crd()["spec"]["versions"]
SCHEMA: dict[str, Any] = SERVED["schema"]["openAPIV3Schema"]
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
HIDDEN = doctor.Unknown(reason="not allowed to look")
TROUBLE = doctor.Unknown(reason="could not be looked at", trouble=True)
GB = 10**9

JOB = {
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"name": "prepare", "resources": {"requests": {"cpu": "10m", "memory": "3Gi"}}}],
                "containers": [
                    {
                        "name": "claude",
                        "image": "agents.example/claude:1",
                        "env": [
                            {"name": "PLAIN", "value": "x"},
                            {
                                "name": "ANTHROPIC_API_KEY",
                                "valueFrom": {"secretKeyRef": {"name": "anthropic", "key": "api-key"}},
                            },
                        ],
                        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "8Gi"}},
                    }
                ],
                "volumes": [
                    {"name": "prompt", "secret": {"secretName": "made-by-the-operator"}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "paperclip-data"}},
                ],
            }
        }
    }
}


def place(**given: Any) -> doctor.Place:
    """A namespace in which an agent can work."""
    values: dict[str, Any] = {
        "namespace": "team-a",
        "job": JOB,
        "image": "agents.example/claude:1",
        "claim": doctor.Claim(phase="Bound", modes=("ReadWriteMany",)),
        "secrets": {"anthropic": doctor.SecretSeen(keys=frozenset({"api-key"}))},
    }
    return doctor.Place(**{**values, **given})


def volume(**given: Any) -> doctor.Volume:
    """A volume on which an agent can work."""
    values: dict[str, Any] = {
        "path": "/paperclip",
        "filesystem": "ext4",
        "log_root": doctor.LogRoot(path="/paperclip/logs", exists=True, uid=1000, gid=1000, mode=0o750),
        "probe": doctor.Probe(folder="/paperclip/logs", seconds=0.001),
        "space": doctor.Space(free_bytes=50 * GB, total_bytes=100 * GB, free_inodes=500, total_inodes=1000),
    }
    return doctor.Volume(**{**values, **given})


def config(**given: Any) -> doctor.Configuration:
    """Settings."""
    given = {"pod_name": "agentrun-operator-0", "pod_namespace": "agentrun-system", **given}
    return doctor.Configuration(settings=settings.Settings(**given), source="the environment")


def reviews(*denied: str, **given: Any) -> tuple[doctor.Review, ...]:
    """The answers of an API server that denies verbs, written as verb/resource."""
    asked = doctor.plan_asks(config(**given).settings)
    return tuple(doctor.Review(ask=ask, allowed=f"{ask.verb}/{ask.resource}" not in denied) for ask in asked)


ELECTION = config(leader_election_lease="agentrun-operator")
UP = doctor.Deployment(name="agentrun-operator", replicas=1, ready=1, strategy="Recreate")
TWO = dataclasses.replace(UP, replicas=2, ready=2, strategy="RollingUpdate")
POD = doctor.OperatorPod(name="agentrun-operator-0", ready=True)
LEASE = doctor.Lease(holder="agentrun-operator-0_1234", seconds=8, age=2.0)
NODES = (
    doctor.Node(name="one", labels={"zone": "a"}, images=frozenset({"agents.example/claude:1"})),
    doctor.Node(name="two", labels={"zone": "b"}),
)
CRD = doctor.Crd(served=("v1alpha1",), schema=SCHEMA)
API = doctor.Api(version="v1.34.1", seconds=0.02, skew=0.3)


def seen(**given: Any) -> doctor.Sights:
    """A cluster in which all is well; ``place`` and ``volume`` change only what they name."""
    if "place" in given:
        given["places"] = (place(**given.pop("place")),)
    if isinstance(given.get("volume"), Mapping):
        given["volume"] = volume(**given["volume"])
    values: dict[str, Any] = {
        "configuration": ELECTION,
        "api": API,
        "crd": CRD,
        "reviews": reviews(leader_election_lease="agentrun-operator"),
        "reviewed": "the operator",
        "deployment": UP,
        "pods": (POD,),
        "lease": LEASE,
        "nodes": NODES[:1],
        "places": (place(),),
        "volume": volume(),
    }
    return doctor.Sights(**{**values, **given})


def without(path: str) -> dict[str, Any]:
    """The schema without a field of spec, or with another type for it."""
    other = yaml.safe_load(yaml.safe_dump(SCHEMA))
    del other["properties"]["spec"]["properties"][path]
    return dict(other)


def beside(name: str) -> dict[str, Any]:
    """The schema with one more field of spec."""
    other = yaml.safe_load(yaml.safe_dump(SCHEMA))
    other["properties"]["spec"]["properties"][name] = {"type": "string"}
    return dict(other)


def selecting(selector: Mapping[str, str]) -> dict[str, Any]:
    """The Job, for certain nodes only."""
    job = yaml.safe_load(yaml.safe_dump(JOB))
    job["spec"]["template"]["spec"]["nodeSelector"] = dict(selector)
    return dict(job)


def with_secret(kind: str, reference: Mapping[str, Any]) -> dict[str, Any]:
    """The Job with a Secret of this kind of reference, and no other one."""
    job = yaml.safe_load(yaml.safe_dump(JOB))
    spec = job["spec"]["template"]["spec"]
    agent = spec["containers"][0]
    agent["env"] = []
    if kind == "key":
        agent["env"] = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": dict(reference)}}]
    elif kind == "all":
        agent["envFrom"] = [{"secretRef": dict(reference)}, {"configMapRef": {"name": "other"}}]
    elif kind == "volume":
        spec["volumes"].append({"name": "certificates", "secret": dict(reference)})
    else:
        spec["imagePullSecrets"] = [dict(reference)]
    return dict(job)


FULL = doctor.Quota(name="agents", hard={"pods": "4", "limits.memory": "64Gi"}, used={"pods": "4"})
NFS = {"filesystem": "nfs4", "options": ("rw", "vers=4.1")}
RWO = doctor.Claim(phase="Bound", modes=("ReadWriteOnce",))

# What was seen, the check, its level, and words that tell the finding from others.
ROWS: list[tuple[doctor.Sights, str, str, str]] = [
    (seen(), "settings", "pass", "read from the environment"),
    (seen(configuration=dataclasses.replace(ELECTION, faults="AGENTRUN_SHARD='x'")), "settings", "fail", "SHARD='x'"),
    (seen(configuration=dataclasses.replace(ELECTION, strange=("AGENTRUN_PCV",))), "settings", "warn", "AGENTRUN_PCV"),
    (seen(configuration=dataclasses.replace(ELECTION, unread=("AGENTRUN_IMAGE",))), "settings", "warn", "not known"),
    (seen(), "api", "pass", "v1.34.1, answered within 20 ms"),
    (seen(api=dataclasses.replace(API, version="unheard-of")), "api", "pass", "unheard-of"),
    (seen(api=dataclasses.replace(API, version="v1.30.0")), "api", "pass", "v1.30.0"),
    (seen(api=dataclasses.replace(API, version="v1.29.9")), "api", "fail", "nothing below 1.30 is tested"),
    (seen(api=TROUBLE), "api", "fail", "could not be looked at"),
    (seen(), "clock", "pass", "agree"),
    (seen(api=TROUBLE), "clock", "skip", "not reached"),
    (seen(api=dataclasses.replace(API, skew=None)), "clock", "skip", "does not say"),
    (seen(api=dataclasses.replace(API, skew=-20.0)), "clock", "warn", "-20 s"),
    (seen(api=dataclasses.replace(API, skew=3600.0)), "clock", "fail", "+3600 s"),
    (seen(), "crd", "pass", "the one that this operator ships"),
    (seen(crd=None), "crd", "fail", "not there"),
    (seen(crd=HIDDEN), "crd", "skip", "not allowed"),
    (seen(crd=TROUBLE), "crd", "warn", "could not"),
    (seen(crd=dataclasses.replace(CRD, deleting=True)), "crd", "fail", "being deleted"),
    (seen(crd=doctor.Crd(served=("v1beta9",), schema=None)), "crd", "fail", "served: v1beta9"),
    (seen(crd=doctor.Crd(served=(), schema=None)), "crd", "fail", "served: none"),
    (seen(crd=dataclasses.replace(CRD, established=False)), "crd", "fail", "not established"),
    (seen(crd=dataclasses.replace(CRD, schema=without("cancel"))), "crd", "fail", "spec.cancel"),
    (seen(crd=dataclasses.replace(CRD, schema={})), "crd", "fail", "spec, status"),
    (seen(crd=dataclasses.replace(CRD, schema=beside("novelty"))), "crd", "warn", "spec.novelty"),
    (
        seen(),
        "rights",
        "pass",
        "jobs.batch: the operator may get, list, watch, create, patch, delete in all namespaces",
    ),
    (seen(reviews=reviews("create/jobs", "patch/jobs")), "rights", "fail", "may not create, patch in all namespaces"),
    (seen(reviews=reviews("get/secrets", namespaces="a,b")), "rights", "fail", "may not get in namespace b"),
    (seen(), "rights", "pass", "agentruns.paperclip.io/status: the operator may patch in all namespaces"),
    (seen(reviews=HIDDEN), "rights", "skip", "not allowed"),
    (seen(), "operator", "pass", "agentrun-operator: 1 of 1 ready"),
    (seen(), "operator", "pass", "pod agentrun-operator-0: ready; never restarted"),
    (seen(deployment=HIDDEN), "operator", "skip", "not allowed"),
    (seen(deployment=None), "operator", "warn", "Deployment is not there"),
    (seen(deployment=dataclasses.replace(UP, replicas=0, ready=0)), "operator", "fail", "scaled to 0"),
    (seen(deployment=TWO, configuration=config()), "operator", "fail", "2 replicas and no election"),
    (seen(deployment=TWO), "operator", "pass", "2 of 2"),
    (seen(deployment=dataclasses.replace(UP, ready=0)), "operator", "fail", "0 of 1 ready"),
    (seen(deployment=dataclasses.replace(TWO, ready=1)), "operator", "warn", "1 of 2 ready"),
    (
        seen(deployment=dataclasses.replace(UP, strategy="RollingUpdate"), configuration=config()),
        "operator",
        "warn",
        "lets two operators work",
    ),
    (seen(pods=HIDDEN), "operator", "skip", "pods: not allowed"),
    (seen(pods=(dataclasses.replace(POD, ready=False),)), "operator", "warn", "not ready; never restarted"),
    (
        seen(pods=(dataclasses.replace(POD, restarts=7, last_exit=3),)),
        "operator",
        "warn",
        "restarted 7 times, last with exit code 3 (it lost its Lease",
    ),
    (
        seen(pods=(dataclasses.replace(POD, restarts=1, last_exit=9, last_reason="Error"),)),
        "operator",
        "pass",
        "exit code 9 (Error)",
    ),
    (seen(), "leader", "pass", "agentrun-operator-0_1234 leads"),
    (seen(configuration=config()), "leader", "skip", "no election"),
    (seen(lease=HIDDEN), "leader", "skip", "not allowed"),
    (seen(lease=None), "leader", "fail", "there is no Lease"),
    (seen(lease=dataclasses.replace(LEASE, holder="")), "leader", "fail", "nobody holds"),
    (seen(lease=dataclasses.replace(LEASE, age=None)), "leader", "warn", "cannot be read"),
    (seen(lease=dataclasses.replace(LEASE, age=600.0)), "leader", "fail", "for 600 s"),
    (seen(), "namespace", "pass", "team-a: is there"),
    (seen(places=()), "namespace", "skip", "no namespace"),
    (seen(place={"phase": HIDDEN}), "namespace", "skip", "not allowed"),
    (seen(place={"phase": None}), "namespace", "fail", "no such namespace"),
    (seen(place={"phase": "Terminating"}), "namespace", "fail", "Terminating"),
    (seen(), "claim", "pass", "paperclip-data is bound"),
    (seen(place={"claim": HIDDEN}), "claim", "skip", "not allowed"),
    (seen(place={"claim": None}), "claim", "fail", "no PersistentVolumeClaim paperclip-data"),
    (seen(place={"claim": dataclasses.replace(RWO, deleting=True)}), "claim", "fail", "being deleted"),
    (seen(place={"claim": dataclasses.replace(RWO, phase="Pending")}), "claim", "warn", "not bound yet"),
    (seen(place={"claim": dataclasses.replace(RWO, phase="Lost")}), "claim", "fail", "is Lost"),
    (seen(place={"claim": dataclasses.replace(RWO, phase="")}), "claim", "fail", "in no phase"),
    (seen(), "access-mode", "pass", "ReadWriteMany"),
    (seen(place={"claim": None}), "access-mode", "skip", "not seen"),
    (
        seen(place={"claim": doctor.Claim(phase="Bound", modes=("ReadWriteOncePod",))}),
        "access-mode",
        "fail",
        "ReadWriteOncePod: operator and agents",
    ),
    (seen(place={"claim": doctor.Claim(phase="Bound", modes=())}), "access-mode", "fail", "no access mode"),
    (seen(place={"claim": RWO}, deployment=TWO), "access-mode", "fail", "2 replicas"),
    (
        seen(place={"claim": RWO}, deployment=TWO, configuration=config(data_path="")),
        "access-mode",
        "pass",
        "one node at most",
    ),
    (seen(place={"claim": RWO}, deployment=HIDDEN), "access-mode", "pass", "one node at most"),
    (seen(place={"claim": RWO}, nodes=HIDDEN), "access-mode", "warn", "cannot be told"),
    (seen(place={"claim": RWO}, nodes=NODES), "access-mode", "warn", "2 nodes"),
    (
        seen(place={"claim": RWO, "job": selecting({"zone": "a"})}, nodes=NODES),
        "access-mode",
        "pass",
        "one node at most",
    ),
    (
        seen(place={"claim": RWO, "job": selecting({"kubernetes.io/hostname": "two"})}, nodes=NODES),
        "access-mode",
        "pass",
        "one node at most",
    ),
    (seen(), "secrets", "pass", "team-a/anthropic: is there, with api-key"),
    (seen(place={"job": {}}), "secrets", "skip", "no Job can be made"),
    (seen(place={"secrets": {"anthropic": HIDDEN}}), "secrets", "skip", "not allowed"),
    (seen(place={"secrets": {"anthropic": None}}), "secrets", "fail", "no such Secret"),
    (
        seen(place={"secrets": {"anthropic": doctor.SecretSeen(keys=frozenset({"key"}))}}),
        "secrets",
        "fail",
        "has no key api-key, only key",
    ),
    (seen(place={"secrets": {"anthropic": doctor.SecretSeen(keys=frozenset())}}), "secrets", "fail", "only none"),
    (
        seen(
            place={
                "secrets": {"anthropic": doctor.SecretSeen(keys=frozenset({"api-key"}), empty=frozenset({"api-key"}))}
            }
        ),
        "secrets",
        "fail",
        "holds nothing in api-key",
    ),
    (
        seen(place={"job": with_secret("key", {"name": "maybe", "key": "k", "optional": True})}),
        "secrets",
        "warn",
        "maybe: there is no such Secret; agents start without it",
    ),
    (
        seen(
            place={
                "job": with_secret("all", {"name": "env"}),
                "secrets": {"env": doctor.SecretSeen(keys=frozenset({"A"}))},
            }
        ),
        "secrets",
        "pass",
        "team-a/env: is there",
    ),
    (
        seen(
            place={"job": with_secret("all", {"name": "env"}), "secrets": {"env": doctor.SecretSeen(keys=frozenset())}}
        ),
        "secrets",
        "fail",
        "team-a/env: holds nothing",
    ),
    (seen(place={"job": with_secret("volume", {"secretName": "tls"})}), "secrets", "fail", "team-a/tls: there is no"),
    (seen(place={"job": with_secret("pull", {"name": "registry"})}), "secrets", "fail", "team-a/registry: there is no"),
    (seen(place={"job": with_secret("all", {})}), "secrets", "skip", "no Secret is given to every agent"),
    (
        seen(
            place={
                "job": {
                    "spec": {
                        "template": {
                            "spec": {
                                "containers": [{"name": "claude", "env": [{"name": "ANTHROPIC_API_KEY", "value": "x"}]}]
                            }
                        }
                    }
                }
            }
        ),
        "secrets",
        "skip",
        "the agent gets ANTHROPIC_API_KEY without a Secret",
    ),
    (seen(), "quota", "pass", "no ResourceQuota"),
    (seen(place={"quotas": HIDDEN}), "quota", "skip", "not allowed"),
    (seen(place={"quotas": (dataclasses.replace(FULL, used={}),)}), "quota", "pass", "one more run fits"),
    (seen(place={"quotas": (FULL,)}), "quota", "warn", "pods (1 needed, 4 of 4 used)"),
    (
        seen(place={"quotas": (doctor.Quota(name="agents", hard={"requests.memory": "2Gi"}, used={}),)}),
        "quota",
        "fail",
        "a run never fits: requests.memory (3221225472 needed, 0 of 2Gi used)",
    ),
    (seen(place={"quotas": (dataclasses.replace(FULL, scoped=True),)}), "quota", "skip", "only some pods"),
    (
        seen(place={"quotas": (doctor.Quota(name="odd", hard={"pods": "many", "configmaps": "1"}, used={}),)}),
        "quota",
        "pass",
        "one more run fits",
    ),
    (seen(), "admission", "pass", "team-a, pod: would be created"),
    (seen(place={"render_fault": "no label can be made of it", "job": {}}), "admission", "fail", "no Job can be made"),
    (seen(place={"tried_pod": doctor.Trial(refusal="violates PodSecurity")}), "admission", "fail", "violates PodSec"),
    (seen(place={"tried_job": doctor.Trial(refusal="exceeded quota")}), "admission", "fail", "team-a, Job: refused"),
    (seen(place={"tried_job": doctor.Trial(warnings=("would violate",))}), "admission", "warn", "would violate"),
    (seen(place={"tried_pod": HIDDEN}), "admission", "skip", "not allowed"),
    (seen(), "image", "pass", "is on every node"),
    (seen(place={"job": {}}), "image", "skip", "no Job can be made"),
    (seen(place={"image": ""}), "image", "skip", "AGENTRUN_IMAGE is empty"),
    (seen(place={"image": "Not An Image"}), "image", "fail", "no image reference"),
    (seen(place={"image": "agents.example/claude"}), "image", "warn", "no fixed tag"),
    (seen(place={"image": "agents.example:5000/claude:latest"}), "image", "warn", "no fixed tag"),
    (seen(nodes=NODES), "image", "skip", "1 of 2 nodes have it; whether"),
    (seen(nodes=HIDDEN), "image", "skip", "cannot be told"),
    (seen(place={"image": f"claude@sha256:{'a' * 64}", "waiting": HIDDEN}), "image", "skip", "cannot be told"),
    (
        seen(
            place={
                "waiting": (
                    doctor.Waiting(pod="ac-1", reason="PodInitializing", message=""),
                    doctor.Waiting(
                        pod="ac-2", reason="ImagePullBackOff", message='Back-off pulling "agents.example/claude:1"'
                    ),
                )
            }
        ),
        "image",
        "fail",
        "pod ac-2 cannot pull it, ImagePullBackOff",
    ),
    (seen(), "volume", "pass", "/paperclip: is mounted (ext4)"),
    (seen(volume=HIDDEN), "volume", "skip", "not allowed"),
    (seen(volume={"fault": "does not answer"}), "volume", "fail", "does not answer"),
    (seen(volume={"mounted": False}), "volume", "warn", "no volume is mounted"),
    (seen(), "log-root", "pass", "agents can write to it (owner 1000:1000, mode 0750)"),
    (seen(volume=HIDDEN), "log-root", "skip", "cannot be looked at"),
    (seen(volume={"fault": "does not answer"}), "log-root", "skip", "cannot be looked at"),
    (seen(volume={"log_root": None}), "log-root", "skip", "was not looked at"),
    (seen(volume={"log_root": doctor.LogRoot(path="/p", exists=False)}), "log-root", "warn", "not there yet"),
    (
        seen(volume={"log_root": doctor.LogRoot(path="/p", exists=True, readable=False)}),
        "log-root",
        "fail",
        "cannot be read by the operator",
    ),
    (
        seen(volume={"log_root": doctor.LogRoot(path="/p", exists=True, mode=0o755)}),
        "log-root",
        "fail",
        "0:0, mode 0755",
    ),
    (seen(volume={"log_root": doctor.LogRoot(path="/p", exists=True, mode=0o777)}), "log-root", "pass", "can write"),
    (
        seen(volume={"log_root": doctor.LogRoot(path="/p", exists=True, gid=1000, mode=0o2770)}),
        "log-root",
        "pass",
        "mode 2770",
    ),
    (
        seen(volume={"log_root": doctor.LogRoot(path="/p", exists=True, uid=1000, mode=0o577)}),
        "log-root",
        "fail",
        "cannot write",
    ),
    (seen(), "probe", "pass", "written, renamed and read"),
    (seen(volume={"probe": None}), "probe", "skip", "nothing was written"),
    (seen(volume={"probe": doctor.Probe(folder="/p", fault="Read-only file system")}), "probe", "fail", "Read-only"),
    (seen(), "visibility", "pass", "seen after 1 ms"),
    (seen(volume={"probe": None}), "visibility", "skip", "nothing could be written"),
    (seen(volume={"probe": doctor.Probe(folder="/p", fault="full")}), "visibility", "skip", "nothing could be"),
    (seen(volume={"probe": doctor.Probe(folder="/p", seconds=3.0)}), "visibility", "warn", "only after 3.0 s"),
    (seen(volume=NFS), "visibility", "warn", "nfs4 may hide what another node writes for 60 s"),
    (seen(volume={**NFS, "options": ("actimeo=3",)}), "visibility", "pass", "from another node after up to 3 s"),
    (seen(volume={**NFS, "options": ("acregmax=5", "acdirmax=8")}), "visibility", "pass", "up to 8 s"),
    (seen(volume={**NFS, "options": ("noac",)}), "visibility", "pass", "seen after 1 ms"),
    (seen(), "space", "pass", "space: 50.0 of 100.0 GB free (50%)"),
    (seen(), "space", "pass", "inodes: 500 of 1,000 free (50%)"),
    (seen(volume={"space": None}), "space", "skip", "does not say"),
    (
        seen(volume={"space": doctor.Space(free_bytes=5 * GB, total_bytes=100 * GB, free_inodes=0, total_inodes=0)}),
        "space",
        "warn",
        "space: 5.0 of 100.0 GB",
    ),
    (
        seen(volume={"space": doctor.Space(free_bytes=GB // 10, total_bytes=GB, free_inodes=1, total_inodes=1000)}),
        "space",
        "fail",
        "space: 0.1 of 1.0 GB",
    ),
    (
        seen(volume={"space": doctor.Space(free_bytes=GB, total_bytes=GB, free_inodes=1, total_inodes=1000)}),
        "space",
        "fail",
        "inodes: 1 of 1,000",
    ),
]


@pytest.mark.parametrize(("sights", "check", "level", "words"), ROWS, ids=[f"{r[1]}-{r[2]}-{r[3]}" for r in ROWS])
def test_what_is_seen_makes_a_finding(sights: doctor.Sights, check: str, level: str, words: str) -> None:
    """One of the check's findings says it, at this level; and who is to do something is told what."""
    found = [f for f in doctor.examine(sights) if f.check == check]
    said = [(f.level.value, f"{f.subject}: {f.message}" if f.subject else f.message) for f in found]

    assert any(level == of and words in sentence for of, sentence in said), said
    assert all(bool(f.hint) == (f.level in {doctor.Level.WARN, doctor.Level.FAIL}) for f in found)


def test_every_check_is_made_to_pass_and_to_fail() -> None:
    """Only the delay of a volume, which nothing fails for, ends with a warning."""
    worst = {name: {level for _, check, level, _ in ROWS if check == name} for name in (c.name for c in doctor.CHECKS)}
    assert all("pass" in levels and "skip" in levels | {"skip"} for levels in worst.values())
    assert {name for name, levels in worst.items() if "fail" not in levels} == {"visibility"}
    assert "warn" in worst["visibility"]


def test_where_all_is_well_nothing_is_to_do() -> None:
    """Every check says something, in the order of the list, and nothing worse than that it passed."""
    found = list(doctor.examine(seen()))

    assert list(dict.fromkeys(f.check for f in found)) == [check.name for check in doctor.CHECKS]
    assert [f for f in found if f.level is not doctor.Level.PASS] == []
    assert doctor.worst(found) is doctor.Level.PASS
    assert doctor.worst([]) is doctor.Level.SKIP


def test_where_nothing_is_seen_every_check_says_so() -> None:
    """None is left out silently."""
    nothing = seen(
        api=TROUBLE, crd=HIDDEN, reviews=HIDDEN, deployment=HIDDEN, pods=HIDDEN, lease=HIDDEN, nodes=HIDDEN,
        places=(), volume=HIDDEN,
    )  # fmt: skip
    found = list(doctor.examine(nothing))

    assert list(dict.fromkeys(f.check for f in found)) == [check.name for check in doctor.CHECKS]
    assert doctor.worst(found) is doctor.Level.FAIL  # the API


def test_a_later_level_is_worse() -> None:
    """FAIL is the worst, and a warning is worse than a check that could not be made."""
    levels = [doctor.Level.SKIP, doctor.Level.PASS, doctor.Level.WARN, doctor.Level.FAIL]
    for index, level in enumerate(levels):
        found = [doctor.Finding(level=one, message="") for one in levels[: index + 1]]
        assert doctor.worst(reversed(found)) is level


# --- rights ---------------------------------------------------------------------------------------------------------


def test_the_table_of_rights_is_what_deploy_grants() -> None:
    """All roles below deploy/ together: not a verb less, and not a verb more."""
    granted = set()
    for file in (playground.ROOT / "deploy").rglob("*.yaml"):
        if "templates" in file.parts:
            continue  # of the chart, which is no YAML yet
        for body in yaml.safe_load_all(file.read_text()):
            if isinstance(body, dict) and body.get("kind") in {"Role", "ClusterRole"}:
                granted |= {
                    (group, resource, verb)
                    for rule in body["rules"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    assert {(r.group, r.resource, verb) for r in doctor.RIGHTS for verb in r.verbs} == granted


def test_only_what_is_needed_is_asked_for() -> None:
    """No Lease without an election, no Events where none are posted; each namespace that is watched."""
    plain = doctor.plan_asks(settings.Settings(namespaces="a,b", events=False))
    assert {ask.namespace for ask in plain} == {"a", "b"}
    assert {"leases", "events"}.isdisjoint(ask.resource for ask in plain)

    elected = doctor.plan_asks(ELECTION.settings)
    leases = {(ask.verb, ask.namespace, ask.name) for ask in elected if ask.resource == "leases"}
    assert leases == {
        ("create", "agentrun-system", ""),
        ("get", "agentrun-system", "agentrun-operator"),
        ("update", "agentrun-system", "agentrun-operator"),
    }
    assert {ask.namespace for ask in elected if ask.resource != "leases"} == {""}
    assert "events" in {ask.resource for ask in elected}


# --- reading --------------------------------------------------------------------------------------------------------


def test_schemas_differ_where_users_would_look() -> None:
    """By paths, whatever the nesting; words in a description are no difference, but a field of that name is."""
    ours = {
        "properties": {
            "spec": {
                "description": "ours",
                "properties": {
                    "list": {"items": {"type": "string"}, "maxItems": 3},
                    "map": {"additionalProperties": {"type": "string"}},
                    "same": {"additionalProperties": True},
                    "description": {"type": "string"},
                    "gone": {"type": "string"},
                },
            },
            "status": {"type": "object"},
        }
    }
    theirs = {
        "properties": {
            "spec": {
                "description": "theirs",
                "properties": {
                    "list": {"items": {"type": "integer"}, "maxItems": 4},
                    "map": {"additionalProperties": True},
                    "same": {"additionalProperties": True},
                    "description": {"type": "integer"},
                    "new": {"type": "string"},
                },
            },
            "status": {"type": "object"},
        }
    }
    assert schema.find_differences(ours, theirs) == (
        ["spec.list[].type", "spec.list.maxItems", "spec.map[]", "spec.description.type", "spec.gone"],
        ["spec.new"],
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", Decimal("0.5")),
        ("2Gi", Decimal(2 * 1024**3)),
        ("1k", Decimal(1000)),
        ("1e3", Decimal(1000)),
        ("1E-1", Decimal("0.1")),
        ("1.5", Decimal("1.5")),
        (".5", Decimal("0.5")),
        (4, Decimal(4)),
        ("4x", None),
        ("", None),
        ("1ee", None),
        ("lots", None),
    ],
)
def test_a_quantity_is_a_number(text: object, number: Decimal | None) -> None:
    """In all the forms that Kubernetes knows."""
    assert quantities.parse(text) == number


def test_a_run_takes_the_most_of_init_containers_and_agents() -> None:
    """As the scheduler and the quota count it."""
    wanted = quantities.of_run(JOB)
    assert wanted["requests.memory"] == wanted["memory"] == 3 * 1024**3
    assert wanted["requests.cpu"] == 1
    assert wanted["limits.memory"] == 8 * 1024**3
    assert wanted["pods"] == wanted["count/jobs.batch"] == wanted["secrets"] == 1


def test_a_crd_is_read() -> None:
    """With the schema of our version, if that is served."""
    body = {
        "metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {
            "versions": [
                {"name": "v1alpha1", "served": True, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v0", "served": False},
            ]
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    assert doctor.parse_crd(body) == doctor.Crd(served=("v1alpha1",), schema={"type": "object"}, deleting=True)
    assert doctor.parse_crd({}) == doctor.Crd(served=(), schema=None, established=False)


def test_a_claim_and_a_quota_are_read() -> None:
    """A claim that is not bound has the modes that it asks for."""
    asked = {"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}}
    assert doctor.parse_claim(asked) == doctor.Claim(phase="Pending", modes=("ReadWriteOnce",))
    bound = {**asked, "status": {"phase": "Bound", "accessModes": ["ReadWriteMany"]}}
    assert doctor.parse_claim(bound) == doctor.Claim(phase="Bound", modes=("ReadWriteMany",))
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "4"}, "scopes": ["BestEffort"]}}
    assert doctor.parse_quota(quota) == doctor.Quota(name="q", hard={"pods": "4"}, used={}, scoped=True)


def test_only_nodes_that_take_pods_are_read() -> None:
    """Neither those that are cordoned nor those with a taint that an agent does not tolerate."""
    body = {"metadata": {"name": "one", "labels": {"a": "b"}}, "status": {"images": [{"names": ["x:1", "x@sha256:2"]}]}}
    assert doctor.parse_node(body) == doctor.Node(
        name="one", labels={"a": "b"}, images=frozenset({"x:1", "x@sha256:2"})
    )
    assert doctor.parse_node({**body, "spec": {"unschedulable": True}}) is None
    assert doctor.parse_node({**body, "spec": {"taints": [{"effect": "NoSchedule"}]}}) is None
    assert doctor.parse_node({**body, "spec": {"taints": [{"effect": "PreferNoSchedule"}]}}) is not None


def test_a_deployment_and_its_pods_are_read() -> None:
    """Of the pod the container of the operator, whatever else runs beside it."""
    body = {"metadata": {"name": "o"}, "spec": {"strategy": {"type": "Recreate"}}, "status": {"readyReplicas": 1}}
    assert doctor.parse_deployment(body) == doctor.Deployment(name="o", replicas=1, ready=1, strategy="Recreate")
    assert doctor.parse_deployment({"spec": {"replicas": 0}}).replicas == 0
    pod = {
        "metadata": {"name": "o-1"},
        "status": {
            "containerStatuses": [
                {"name": "proxy", "ready": True},
                {
                    "name": "operator",
                    "ready": False,
                    "restartCount": 2,
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                },
            ]
        },
    }
    assert doctor.parse_operator_pod(pod, "operator") == doctor.OperatorPod(
        name="o-1", ready=False, restarts=2, last_exit=137, last_reason="OOMKilled"
    )
    assert doctor.parse_operator_pod(pod, "").ready
    assert doctor.parse_operator_pod({}, "operator") == doctor.OperatorPod(name="", ready=False)


@pytest.mark.parametrize(
    ("renewed", "age"),
    [("2026-01-02T03:04:00.000000Z", 5.0), ("2026-01-02T03:04:00", None), ("soon", None), (None, None)],
)
def test_a_lease_is_read(renewed: str | None, age: float | None) -> None:
    """Its age by the clock of the API server; a time without a zone says nothing."""
    body = {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 8, "renewTime": renewed}}
    assert doctor.parse_lease(body, NOW) == doctor.Lease(holder="me", seconds=8, age=age)


def test_of_a_secret_no_value_is_kept() -> None:
    """Only which keys there are, and which of them hold nothing."""
    read = doctor.parse_secret({"api-key": b"hush", "none": b""})
    assert read == doctor.SecretSeen(keys=frozenset({"api-key", "none"}), empty=frozenset({"none"}))
    assert "hush" not in repr(read)


def test_the_variables_of_the_operator_are_read() -> None:
    """Those that the downward API gives are known; those of other objects are named."""
    container = {
        "name": "operator",
        "env": [
            {"name": "A", "value": "1"},
            {"name": "EMPTY"},
            {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "other"}}],
    }
    pod = {"spec": {"containers": [{"name": "proxy"}, container]}}
    read = doctor.read_variables(pod, "operator", fields={"metadata.namespace": "agentrun-system"})
    assert read == ({"A": "1", "EMPTY": "", "NS": "agentrun-system"}, ("KEY",), ("settings",))
    assert doctor.read_variables({}, "operator", fields={}) == ({}, (), ())


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
35 22 0:31 / /data rw shared:1 - nfs4 server:/x rw,vers=4.1,acregmax=5
36 22 0:32 / /with\\040space rw - tmpfs tmpfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/data/logs", (True, "nfs4", ("rw", "vers=4.1", "acregmax=5"))),
        ("/database", (False, "ext4", ("rw",))),
        ("/with space", (True, "tmpfs", ("rw",))),
    ],
)
def test_the_mount_of_a_path_is_found(path: str, mount: tuple[bool, str, tuple[str, ...]]) -> None:
    """The nearest one above it, as the kernel writes it."""
    assert doctor.parse_mount(MOUNTS, path) == mount


def test_without_the_kernels_list_no_mount_is_known() -> None:
    """On another system than Linux."""
    assert doctor.parse_mount("", "/data") == (False, "", ())
