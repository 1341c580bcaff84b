"""The chaos suite: ``python -m tests.chaos [--seed N] [--faults N] [--only TEXT] [--keep]``.

Exits with 1 when an invariant was broken, an operator stayed alive and deaf, or something that was to be tried was not;
then the story of what was broken is printed. Ctrl-C ends it in good order. The report is in build/chaos.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import pathlib
import random
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from agentrun_operator import runner
from hack import cluster, playground
from tests import harness
from tests.chaos import catalogue, driver, nodefaults, report, stage, story, upkeep
from tests.chaos.outcome import Outcome, combine
from tests.chaos.scene import Cluster

FOLDER = pathlib.Path(__file__).parents[2] / "build" / "chaos"
_CLUSTER = "chaos"
_NODE_CLUSTER = "chaos-node"
_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager")
_REAL_PARTS = (*_PARTS, "kube-scheduler")
_SHORT = 200
_LONG = 1000
_NODE_FAULTS = 30
_SCENES = 2
_LAST_LINES = 60
_MOST_STORIES = 3


def main() -> int:
    """Run the suite once."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay the schedule of this seed; left out: a new one")
    parser.add_argument("--faults", type=int, default=_SHORT, help=f"how many faults (default {_SHORT})")
    parser.add_argument("--scenes", type=int, default=_SCENES, help=f"namespaces side by side (default {_SCENES})")
    parser.add_argument(
        "--real-node",
        choices=("auto", "only", "never"),
        default="auto",
        help=f"the round with a real kubelet, which needs root (auto: from {_LONG} faults on)",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults whose name holds this text")
    parser.add_argument("--skip", default="", metavar="TEXT", help="no faults whose name is in this list with commas")
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="where the report goes")
    parser.add_argument("--keep", action="store_true", help="leave the cluster as it is at the end")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"chaos: seed {seed}, {options.faults} faults", flush=True)
    if options.keep:
        os.environ[harness.KEEP_CLUSTER] = "1"
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    outcome = asyncio.run(_run(seed, options))
    report.write(outcome, options.folder)
    _tell(outcome)
    print(f"chaos: seed {seed}: {outcome.word}; report: {options.folder / 'report.md'}")
    return int(not outcome.held)


async def _run(seed: int, options: argparse.Namespace) -> Outcome:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    play = Play(seed=seed, options=options, began=time.monotonic(), stop=asyncio.Event())
    chosen, on_node = (_chosen(kinds, options) for kinds in (catalogue.everything(), nodefaults.everything()))
    parts: list[Outcome] = []
    tried: list[catalogue.Kind] = []
    if chosen and options.real_node != "only":
        parts += await play.on(Cluster(name=_name(_CLUSTER)), chosen, count=options.faults, scenes=options.scenes)
        tried += chosen
    obstacle = _node_obstacle(options)
    if on_node and not obstacle and not play.stop.is_set():
        parts += await play.on(Cluster(name=_name(_NODE_CLUSTER), real=True), on_node, count=_NODE_FAULTS, scenes=1)
        tried += on_node
    outcome = combine(parts, seed=seed, wanted=options.faults)
    outcome.complaints += play.complaints
    outcome.left_out += [obstacle] if obstacle else []
    if outcome.held and len(outcome.hits) < options.faults and options.real_node != "only":
        outcome.complaints.append(f"only {len(outcome.hits)} of {options.faults} faults took effect")
    if outcome.held and not options.only and not options.skip and len(tried) <= options.faults:
        outcome.complaints += _not_tried(outcome, tried, steps=options.real_node != "only")
    return outcome


def _chosen(kinds: Sequence[catalogue.Kind], options: argparse.Namespace) -> list[catalogue.Kind]:
    skipped = options.skip.split(",")
    return [kind for kind in kinds if options.only in kind.name and kind.name not in skipped]


def _name(name: str) -> str:
    return name + os.environ.get(harness.CLUSTER_SUFFIX, "")


def _node_obstacle(options: argparse.Namespace) -> str:
    """Why there is no round with a real node; "" if there is one."""
    if os.geteuid() != 0:
        return "The round with a real kubelet: it needs root."
    if options.real_node == "never" or (options.real_node == "auto" and options.faults < _LONG):
        return (
            "The round with a real kubelet (kubelet paused, stopped and killed, containerd killed, node deleted, node "
            "given up): mostly it waits for minutes until Kubernetes gives a node up. `make chaos` has it, and "
            "`python -m tests.chaos --real-node only` is it alone."
        )
    return ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One run of the suite, of several parts: they have one clock, and end together when something is broken."""

    seed: int
    options: argparse.Namespace
    began: float
    stop: asyncio.Event
    complaints: list[str] = dataclasses.field(default_factory=list)

    async def on(
        self, place: Cluster, kinds: Sequence[catalogue.Kind], *, count: int, scenes: int
    ) -> Sequence[Outcome]:
        """Faults on a cluster of their own, dealt to scenes side by side, since most of the time of each is waiting."""
        rng = random.Random(f"{self.seed}-faults")  # noqa: S311 - replayable, guards nothing
        todo = catalogue.plan(count, rng, kinds)
        suites: list[driver.Suite] = []
        try:
            with _running(place) as kubectl:
                async with contextlib.AsyncExitStack() as stack:
                    keeping = asyncio.create_task(upkeep.keep_up(place, _REAL_PARTS if place.real else _PARTS))
                    stack.push_async_callback(_end, keeping)
                    for number in range(scenes):
                        name = "real node" if place.real else f"scene {number + 1}"
                        folder = self.options.folder / name.replace(" ", "-")
                        scene = await stack.enter_async_context(
                            stage.setting(name, kubectl, place, folder, seed=self.seed, began=self.began)
                        )
                        part = todo[number::scenes]
                        suites.append(driver.Suite(scene, seed=self.seed, todo=part, stop=self.stop, say=_say))
                    async with asyncio.TaskGroup() as group:
                        for suite in suites:
                            group.create_task(suite.run())
        except asyncio.CancelledError:
            self.complaints.append("it was cut short")
            self.stop.set()
        except cluster.ClusterError as e:  # it did not come up, or would not go; what was seen on it stays seen
            self.complaints.append(f"the cluster {place.name}: {e}")
        return [suite.outcome for suite in suites]


@contextlib.contextmanager
def _running(place: Cluster) -> Iterator[playground.Kubectl]:
    """The cluster with the CRD and the operator's rights, taken down at the end unless it is to be kept."""
    up = cluster.up(place.name, "node" if place.real else "control-plane", agent_image=False)
    try:
        kubectl = playground.Kubectl(kubeconfig=up.kubeconfig, binary=str(up.bin_dir / "kubectl"))
        playground.install(kubectl)
        if not place.real:
            cluster.stop(place.name, "kube-scheduler")  # the stand-in kubelet takes its pods itself
        yield kubectl
    finally:
        if harness.KEEP_CLUSTER not in os.environ:
            cluster.down(place.name)


async def _end(task: asyncio.Task[None]) -> None:
    """Have it end; an error that it ended with before is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _not_tried(outcome: Outcome, kinds: Sequence[catalogue.Kind], *, steps: bool) -> list[str]:
    """What the suite is there for and did not happen."""
    hit = {hit.kind for hit in outcome.hits}
    never = [f"{kind.name}: it never took effect" for kind in kinds if kind.name not in hit]
    wanted = runner.Step if steps else ()
    return never + [f"step {step}: it was never reached" for step in wanted if not outcome.steps[step.value]]


def _say(text: str) -> None:
    print(f"chaos: {text}", flush=True)


def _tell(outcome: Outcome) -> None:
    """Say what was broken, then how it came about: of a log that is cut short, the end is what is seen."""
    for complaint in outcome.complaints:
        _say(complaint)
    for why, times in outcome.exits.most_common():
        _say(f"operators ended by themselves, {times} ×: {why}")
    for broken in outcome.violations:
        _say(f"BROKEN at {broken.at:.3f} s: {broken.invariant}: {broken.sentence}")
    until = {broken.run: broken.at + 1 for broken in outcome.violations if broken.run}
    for run, at in list(until.items())[-_MOST_STORIES:]:
        lines = list(story.tell((e for e in outcome.events if e.at <= at), run))
        _say(f"what led to it, of the AgentRun {run}:")
        print("\n".join(f"  | {line}" for line in lines[-_LAST_LINES:]), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
