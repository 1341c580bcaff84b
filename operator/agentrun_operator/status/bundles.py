"""What the init container that makes the prompt bundle reported, as the BundleReady condition."""

import re

from agentrun_operator import facts, manifest

_REPORT = re.compile(r"bundle=([0-9a-f]{64}) skills=(\d+) instructions=[01]")


def describe(pod: facts.PodFacts | None) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition; None while there is nothing to say.

    The container's report is its termination message: a line about the bundle, then one for each skill left out.
    """
    container = next((c for c in pod.init if c.name == manifest.BUNDLE_CONTAINER), None) if pod else None
    if container is None or not container.terminated:
        return None
    if container.exit_code != 0:
        return "False", "BundleFailed", container.message.strip()[:1024]
    first, *left_out = container.message.strip().splitlines() or [""]
    match = _REPORT.fullmatch(first.strip())
    if left_out:
        return "False", "SkillsLeftOut", "; ".join(line.strip() for line in left_out)
    made = f"{match[2]} skills, bundle {match[1][:12]}." if match else ""
    return "True", "Prepared", made
