"""The users' page about ``agentrun doctor``: every check with what it looks at and what to do."""

from agentrun_operator import doctor
from agentrun_operator.doctor import rights

_HEAD = """\
<!-- Generated from operator/agentrun_operator/doctor by `make generate`. Do not edit. -->
# agentrun doctor: every check

`agentrun doctor` looks at everything that AgentRuns need and says of each whether it is so. How it is called:
[cli](cli.md#doctor). It is worth a run after an installation, before and after an upgrade, and whenever many runs fail
for one reason.

| level | means |
|---|---|
| `pass` | it is as it should be |
| `warn` | agents can work; look at it all the same |
| `fail` | agents cannot work like that, or not for long |
| `skip` | nothing can be said from here, and the message says why |

All checks are made, also when one fails; only without the API there is little left to look at.

**From where?** Each place sees something that the other does not, so run it in both.

- *In the operator's pod* it has the operator's own settings, rights and view of the volume. What the operator may not
  read (claims, quotas, nodes, its Deployment) is skipped: it gets no right only for this.
- *From a workstation*, with the rights of an administrator, it reads the settings off the operator's Deployment and its
  ConfigMap, asks for the rights of its service account, and tries a Job and a pod. The volume is skipped.

It changes nothing: rights are asked for by reviews, objects are tried in a server-side dry run, and of Secrets only the
names of keys are kept. On the volume it writes one small file beside the logs and removes it.

## The checks

| check | looks at | when it fails |
|---|---|---|
"""

_RIGHTS = """
## The rights

What the check `rights` asks for, and what each right is for; the roles in `deploy/` grant these and no other.

| resource | verbs | for what |
|---|---|---|
"""


def build_page() -> str:
    """The page."""
    checks = "".join(f"| `{check.name}` | {_cell(check.looks_at)} | {_cell(check.fix)} |\n" for check in doctor.CHECKS)
    granted = "".join(
        f"| `{rights.shown(right.group, right.resource)}` | {', '.join(right.verbs)} | {right.purpose}"
        f"{', only that Lease' if right.named else ''} |\n"
        for right in doctor.RIGHTS
    )
    return _HEAD + checks + _RIGHTS + granted


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
