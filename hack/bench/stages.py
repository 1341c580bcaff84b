"""What the fake nodes do with an agent's pod: kwok's Stage objects, as text for its configuration file.

A pod is started as soon as it has a node: its init containers have ended well and its agent is at work, with all that
a kubelet would say of them. It stays so until it is deleted, or until its own annotations say that the agent ends: the
AgentRun's ``spec.job.annotations`` reach the pod, and so may a patch of the pod later on.
"""

import json
import pathlib
from typing import Any

EXIT_AFTER = "bench.example/exit-after"  # a duration as Go writes it: 5s, 250ms. Without it the agent goes on working
EXIT_CODE = "bench.example/exit-code"  # default 0
EXIT_MESSAGE = "bench.example/exit-message"  # the container's termination message; default none

_GROUP = "kwok.x-k8s.io"

_STARTED = """\
{{ $now := Now }}
conditions:
{{ range $type := list "PodReadyToStartContainers" "Initialized" "Ready" "ContainersReady" }}
- lastTransitionTime: {{ $now | Quote }}
  status: "True"
  type: {{ $type | Quote }}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- image: {{ .image | Quote }}
  imageID: ""
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: 0
      finishedAt: {{ $now | Quote }}
      reason: Completed
      startedAt: {{ $now | Quote }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: ""
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""

_ENDED = """\
{{ $now := Now }}
{{ $root := . }}
{{ $code := or ( index .metadata.annotations "EXIT_CODE" ) "0" }}
containerStatuses:
{{ range $index, $item := .spec.containers }}
{{ $origin := index $root.status.containerStatuses $index }}
- image: {{ $item.image | Quote }}
  imageID: ""
  name: {{ $item.name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: {{ $code }}
      finishedAt: {{ $now | Quote }}
      message: {{ or ( index $root.metadata.annotations "EXIT_MESSAGE" ) "" | Quote }}
      reason: {{ if eq $code "0" }}Completed{{ else }}Error{{ end }}
      startedAt: {{ $origin.state.running.startedAt | Quote }}
{{ end }}
phase: {{ if eq $code "0" }}Succeeded{{ else }}Failed{{ end }}
""".replace("EXIT_CODE", EXIT_CODE).replace("EXIT_MESSAGE", EXIT_MESSAGE)


def build_stages() -> list[dict[str, Any]]:
    """The stages of pods. kwok keeps its own ones for nodes, since there are none of them here."""
    alive: dict[str, Any] = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    annotation = f'.metadata.annotations["{EXIT_AFTER}"]'
    running = [
        alive,
        {"key": ".status.phase", "operator": "In", "values": ["Running"]},
        {"key": annotation, "operator": "Exists"},
    ]
    after = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": annotation}}
    return [
        _stage(
            "agent-starts",
            [alive, {"key": ".status.podIP", "operator": "DoesNotExist"}],
            next={"statusTemplate": _STARTED},
        ),
        _stage("agent-ends", running, delay=after, next={"statusTemplate": _ENDED}),
        _stage(
            "pod-goes",
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            next={"finalizers": {"empty": True}, "delete": True},
        ),
    ]


def render() -> str:
    """The stages as a stream of YAML documents; each of them is JSON, which YAML is a superset of."""
    return "".join(f"---\n{json.dumps(stage, indent=1)}\n" for stage in build_stages())


def write(file: pathlib.Path) -> pathlib.Path:
    """Write the stages to ``file`` and return it; nothing is touched if they are there already."""
    text = render()
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return file


def _stage(name: str, matches: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": matches},
            **spec,
        },
    }
