"""Checks of what there is once in a cluster: the API, the CRD, the operator's rights, the operator itself."""

import re
from collections.abc import Iterable

from agentrun_operator import names
from agentrun_operator.doctor import findings, rights, schema, sights
from agentrun_operator.doctor.findings import Finding, Unknown

# Kubernetes 1.x. From 1.29 on podReplacementPolicy works without a feature gate; the tests go back to 1.30.
LEAST_MINOR = 30
_SKEW_WARN = 5.0  # seconds
_SKEW_FAIL = 60.0
_SHOWN = 5  # paths of a schema
_OFTEN = 3  # restarts
_EXITS = {
    1: "a setting is wrong, or there was no way to reach Kubernetes",
    3: "it lost its Lease: the API server was slow or away for seconds",
    4: "a watch failed for good, or it was told to stop and hung",
    137: "it was killed: out of memory, or by the liveness probe",
}


def check_settings(seen: sights.Sights) -> Iterable[Finding]:
    """Whether the settings can be read."""
    configuration = seen.configuration
    if configuration.faults:
        yield findings.failed(f"{configuration.source}: {configuration.faults}")
        return
    if configuration.strange:
        yield findings.warned(
            f"{configuration.source}: there is no such setting: {', '.join(configuration.strange)}",
            hint="Correct the name; a variable that Kubernetes set for a Service named agentrun does no harm.",
        )
    if configuration.unread:
        yield findings.warned(
            f"{configuration.source}: kept in another object and not known here: {', '.join(configuration.unread)}",
            hint="Run agentrun doctor inside the operator's pod, where their values are known.",
        )
    if not configuration.strange and not configuration.unread:
        yield findings.passed(f"read from {configuration.source}")


def check_api(seen: sights.Sights) -> Iterable[Finding]:
    """Whether the API server answers, and is new enough."""
    api = seen.api
    if isinstance(api, Unknown):
        yield findings.failed(api.reason)
        return
    found = re.match(r"v?1\.(\d+)", api.version)
    if found is not None and int(found[1]) < LEAST_MINOR:
        yield findings.failed(
            f"Kubernetes {api.version} is too old: nothing below 1.{LEAST_MINOR} is tested, and below 1.29 a Job may "
            "make a second pod of an attempt",
            hint=f"Use Kubernetes 1.{LEAST_MINOR} or newer.",
        )
        return
    yield findings.passed(f"Kubernetes {api.version}, answered within {api.seconds * 1000:.0f} ms")


def check_clock(seen: sights.Sights) -> Iterable[Finding]:
    """Whether our clock and the API server's agree."""
    if isinstance(seen.api, Unknown):
        yield findings.skipped("the API server was not reached")
    elif seen.api.skew is None:
        yield findings.skipped("the API server does not say what time it is")
    else:
        # The header has whole seconds, and the answer was under way for a while.
        skew = max(abs(seen.api.skew) - 1 - seen.api.seconds, 0.0)
        sentence = f"the API server's clock is {seen.api.skew:+.0f} s from the one here"
        if skew > _SKEW_FAIL:
            yield findings.failed(sentence)
        elif skew > _SKEW_WARN:
            yield findings.warned(sentence)
        else:
            yield findings.passed("the API server's clock and the one here agree")


def check_crd(seen: sights.Sights, shipped: sights.Crd) -> Iterable[Finding]:
    """Whether the CRD is there and is ours."""
    crd, name = seen.crd, f"{names.PLURAL}.{names.GROUP}"
    if isinstance(crd, Unknown):
        yield findings.unknown(crd)
    elif crd is None:
        yield findings.failed(f"the CRD {name} is not there")
    elif crd.deleting:
        yield findings.failed(
            f"the CRD {name} is being deleted, and all AgentRuns with it",
            hint="Wait until it is gone and install it anew; the runbook says what to do when it hangs.",
        )
    elif crd.schema is None or shipped.schema is None:
        served = ", ".join(crd.served) or "none"
        yield findings.failed(f"the CRD {name} does not serve {names.VERSION}; served: {served}")
    elif not crd.established:
        yield findings.failed(f"the CRD {name} is not established: the API server has not accepted its names")
    else:
        lacking, extra = schema.find_differences(shipped.schema, crd.schema)
        if lacking:
            yield findings.failed(f"the CRD is of another version than this operator; it differs in {_few(lacking)}")
        elif extra:
            yield findings.warned(
                f"the CRD has more than this operator knows: {_few(extra)}",
                hint="The operator is older than the CRD: upgrade it; until then it ignores these fields.",
            )
        else:
            yield findings.passed(f"{name} {names.VERSION} is the one that this operator ships")


def check_rights(seen: sights.Sights) -> Iterable[Finding]:
    """Whether the operator may do what it does."""
    if isinstance(seen.reviews, Unknown):
        yield findings.unknown(seen.reviews)
        return
    grouped: dict[tuple[str, str, str], list[sights.Review]] = {}
    for review in seen.reviews:
        grouped.setdefault((review.ask.group, review.ask.resource, review.ask.namespace), []).append(review)
    for (group, resource, namespace), reviews in grouped.items():
        subject = rights.shown(group, resource)
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        denied = [review.ask.verb for review in reviews if not review.allowed]
        if denied:
            purpose = rights.purpose(group, resource)
            yield findings.failed(f"{seen.reviewed} may not {', '.join(denied)} {where}; needed {purpose}", subject)
        else:
            verbs = ", ".join(review.ask.verb for review in reviews)
            yield findings.passed(f"{seen.reviewed} may {verbs} {where}", subject)


def check_operator(seen: sights.Sights) -> Iterable[Finding]:
    """Whether the operator is up, and stays up."""
    deployment = seen.deployment
    if isinstance(deployment, Unknown):
        yield findings.unknown(deployment)
    elif deployment is None:
        yield findings.warned(
            "the operator's Deployment is not there",
            hint="Install the operator (docs/install.md); if it is there by another name or in another namespace, give "
            "--deployment and --system-namespace.",
        )
    else:
        yield _of_deployment(seen, deployment)
    if isinstance(seen.pods, Unknown):
        yield findings.unknown(seen.pods, "pods")
        return
    for pod in seen.pods:
        yield _of_pod(pod)


def check_leader(seen: sights.Sights) -> Iterable[Finding]:
    """Whether somebody leads."""
    name, lease = seen.configuration.settings.leader_election_lease, seen.lease
    if not name:
        yield findings.skipped("there is no election: one replica works alone")
    elif isinstance(lease, Unknown):
        yield findings.unknown(lease)
    elif lease is None:
        yield findings.failed(f"there is no Lease {name}: no replica has led yet")
    elif not lease.holder:
        yield findings.failed(f"nobody holds the Lease {name}")
    elif lease.age is None:
        yield findings.warned(f"{lease.holder} holds the Lease {name}; since when it is not renewed cannot be read")
    elif lease.age > lease.seconds + 1:
        yield findings.failed(f"{lease.holder} has not renewed the Lease {name} for {lease.age:.0f} s: nobody leads")
    else:
        yield findings.passed(f"{lease.holder} leads, and renewed the Lease {max(lease.age, 0):.0f} s ago")


def _of_deployment(seen: sights.Sights, deployment: sights.Deployment) -> Finding:
    config = seen.configuration.settings
    ready = f"{deployment.ready} of {deployment.replicas} ready"
    if deployment.replicas == 0:
        return findings.failed("scaled to 0: nobody works", deployment.name, hint="Scale it to 1.")
    if deployment.replicas > 1 and not config.leader_election_lease:
        return findings.failed(
            f"{deployment.replicas} replicas and no election: each of them works on every run",
            deployment.name,
            hint="Set AGENTRUN_LEADER_ELECTION_LEASE on all of them, or run one replica.",
        )
    if deployment.ready == 0:
        return findings.failed(ready, deployment.name)
    if deployment.ready < deployment.replicas:
        return findings.warned(ready, deployment.name)
    if deployment.strategy != "Recreate" and not config.leader_election_lease:
        return findings.warned(
            f"{ready}; the strategy {deployment.strategy} lets two operators work during an upgrade",
            deployment.name,
            hint="Use strategy Recreate, or an election: AGENTRUN_LEADER_ELECTION_LEASE.",
        )
    return findings.passed(ready, deployment.name)


def _of_pod(pod: sights.OperatorPod) -> Finding:
    subject = f"pod {pod.name}"
    restarts = f"restarted {pod.restarts} times" if pod.restarts else "never restarted"
    ended = ""
    if pod.last_exit is not None:
        why = _EXITS.get(pod.last_exit, pod.last_reason or "see its log")
        ended = f", last with exit code {pod.last_exit} ({why})"
    if not pod.ready:
        return findings.warned(f"not ready; {restarts}{ended}", subject)
    if pod.restarts >= _OFTEN:
        return findings.warned(f"{restarts}{ended}", subject)
    return findings.passed(f"ready; {restarts}{ended}", subject)


def _few(paths: list[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
