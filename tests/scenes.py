"""A cluster for tests of the runner: an API in memory, real log files, and watches and kubelet played by the test."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from agentrun_operator import errors, facts, names, runner, settings, tail
from tests import builders, deps, fakes

Body = dict[str, Any]
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n'
TURN = b'{"type":"assistant","message":{"id":"m1","content":[{"type":"text","text":"Hm."}]}}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done.","total_cost_usd":0.5}\n'
PROMPT = "Sing of the purple heron."
UNAVAILABLE = "the server is currently unable to handle the request"


def unavailable() -> errors.UnavailableError:
    """No answer."""
    return errors.UnavailableError(UNAVAILABLE, status=503)


class Tailer(tail.Tailer):
    """A real one that remembers what it was asked to follow."""

    def __init__(self, config: settings.Settings) -> None:
        super().__init__(config)
        self.tails: list[tail.LogTail] = []
        self.paths: list[str] = []

    def follow(self, path: str, **wishes: Any) -> tail.LogTail:
        """As the real one."""
        self.paths.append(path)
        self.tails.append(super().follow(path, **wishes))
        return self.tails[-1]


class Scene:
    """One operator and its cluster. ``number`` of an attempt is that of its Job, pod and log; 0 is the first."""

    def __init__(self, folder: pathlib.Path, *, cluster: fakes.FakeKube | None = None, **config: Any) -> None:
        self.volume = folder
        given = {"data_path": str(folder), **config}
        self.config = settings.Settings(
            image="agent:1", poll_seconds=0.005, idle_poll_seconds=0.005, log_appear_seconds=0.03, drain_seconds=0.5,
            quiet_seconds=0.03, progress_interval_seconds=0, start_confirm_seconds=0,
        ).model_copy(update=given)  # fmt: skip
        self.later = dt.timedelta()
        self.kube = cluster or fakes.FakeKube(now=self.now)
        self.tailer = Tailer(self.config)
        self.world = runner.World()
        self.deps = deps.make(self.config, self.kube, world=self.world, tailer=self.tailer)
        self.tasks: list[asyncio.Task[None]] = []
        self.others: list[Scene] = []

    def now(self) -> dt.datetime:
        """The operator's clock, which a test can put forward (``later``)."""
        return dt.datetime.now(dt.UTC) + self.later

    # --- people

    def add(self, name: str = "a", **given: Any) -> Body:
        """Create an AgentRun. All are of one agent unless said otherwise."""
        status = given.pop("status", None)
        body = builders.agent_run(name=name, uid=f"uid-{name}", **{"runId": name, "prompt": PROMPT, **given})
        body["status"] = status or {}
        return self.kube.add_run(body)

    def change(self, name: str = "a", *, deleted: bool = False, **spec: Any) -> None:
        """Change an AgentRun; its supervisors are woken as by the watch."""
        body = self.run(name)
        body["spec"] = {**body["spec"], **spec}
        body["metadata"]["generation"] += 1
        if deleted:
            body["metadata"]["deletionTimestamp"] = builders.CREATED
        body["metadata"]["resourceVersion"] = self.kube.next_version()
        for operator in self.operators():
            operator.world.wake(f"uid-{name}")

    # --- operators

    def operators(self) -> "Iterator[Scene]":
        """This one and the others of the cluster."""
        yield self
        yield from self.others

    async def another(self) -> "Scene":
        """Another operator of the same cluster, which has looked around and sees what this one sees from now on."""
        other = Scene(self.volume, cluster=self.kube)
        self.others.append(other)
        await deps.look_around(other.deps)
        return other

    async def crash(self) -> None:
        """The operator dies, and begins again with nothing but what the cluster holds."""
        await self.end_tasks()
        self.tailer.close()
        self.deps.caretaker.close()
        self.tailer = Tailer(self.config)
        self.world = runner.World()
        self.deps = deps.make(self.config, self.kube, world=self.world, tailer=self.tailer)
        self.kube.hold = set()
        await deps.look_around(self.deps)

    def run(self, name: str = "a") -> Body:
        """The AgentRun."""
        return self.kube.runs["team-a", name]

    def status(self, name: str = "a") -> Body:
        """Its status."""
        return dict(self.run(name).get("status") or {})

    def start(self, name: str = "a") -> asyncio.Task[None]:
        """Begin to supervise it."""
        body = self.run(name)
        task = asyncio.create_task(runner.Supervisor(self.deps, lambda: body).run())
        self.tasks.append(task)
        return task

    def watch(self, *, in_order: bool = False) -> None:
        """Show all operators each change of a Job, from now on; ``in_order``: and that nothing was left out."""
        self.tasks.append(asyncio.create_task(self._watch(in_order=in_order)))

    async def _watch(self, *, in_order: bool) -> None:
        while True:
            for operator in self.operators():
                there = {job.uid: job for job in map(facts.parse_job, self.kube.jobs.values())}
                known = {job.uid: job for job in operator.world.jobs()}
                for uid in known.keys() - there.keys():
                    operator.world.saw_job(dataclasses.replace(known[uid], gone=True))
                for uid, job in there.items():
                    if known.get(uid) != job:
                        operator.world.saw_job(job)
                if in_order:
                    operator.world.jobs_shown("", self.kube.newest())
            await asyncio.sleep(0.001)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds. A supervisor that fails meanwhile fails the test."""
        async with asyncio.timeout(10):
            while not condition():
                for task in [task for operator in self.operators() for task in operator.tasks]:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.002)

    async def finish(self, task: asyncio.Task[None], name: str = "a") -> Body:
        """Wait for the end of a supervisor; the status it left. Nothing of the run is held any more."""
        async with asyncio.timeout(10):
            await task
        assert self.open_tails(name) == []
        return self.status(name)

    def open_tails(self, name: str = "a") -> list[tail.LogTail]:
        """The tails of the run that still read."""
        pairs = zip(self.tailer.paths, self.tailer.tails, strict=True)
        mine = [followed for path, followed in pairs if pathlib.Path(path).name.split(".")[0] == name]
        return [followed for followed in mine if followed.poll(self.config) is not None]

    # --- cluster

    @staticmethod
    def job_name(name: str = "a", number: int = 0) -> str:
        """Name of the run's Job."""
        return names.job_name(agent_id="coder", run_id=name, attempt=number)

    def job_body(self, name: str = "a", number: int = 0) -> Body | None:
        """The run's Job, if it is there."""
        return self.kube.jobs.get(("team-a", self.job_name(name, number)))

    def live_jobs(self) -> list[str]:
        """The Jobs under which an agent may be at work."""
        return [job.name for job in map(facts.parse_job, self.kube.jobs.values()) if job.live]

    async def job(self, name: str = "a", number: int = 0) -> Body:
        """The run's Job, when it is there and on record."""
        wanted = self.job_name(name, number)
        await self.until(
            lambda: self.job_body(name, number) and (self.status(name).get("job") or {}).get("name") == wanted
        )
        body = self.job_body(name, number)
        assert body is not None
        return body

    def secret(self, name: str = "a", number: int = 0) -> Body | None:
        """The run's Secret, if it is there."""
        return self.kube.secrets.get(("team-a", self.secret_name(name, number)))

    @classmethod
    def secret_name(cls, name: str = "a", number: int = 0) -> str:
        """Name of the run's Secret."""
        return names.prompt_secret_name(cls.job_name(name, number))

    async def pod(self, name: str = "a", phase: str = "Running", number: int = 0, **given: Any) -> facts.PodFacts:
        """The watch shows the pod."""
        owner = await self.job(name, number)
        await self.until(lambda: not facts.parse_job(self.job_body(name, number) or owner).held)
        body = builders.pod(owner, uid=f"pod-{owner['metadata']['uid']}", phase=phase, **given)
        return self.show_pod(body)

    def show_pod(self, body: Body) -> facts.PodFacts:
        """A pod is there as it is now, and is shown to everybody."""
        body["metadata"]["resourceVersion"] = self.kube.next_version()
        self.kube.pods["team-a", body["metadata"]["name"]] = body
        pod = facts.parse_pod(body)
        for operator in self.operators():
            operator.world.saw_pod(pod)
        return pod

    def remove_pods(self, job_uid: str) -> None:
        """The pod of a Job is gone; its kubelet has ended it before."""
        for place, body in list(self.kube.pods.items()):
            pod = facts.parse_pod(body)
            if pod.job_uid == job_uid:
                del self.kube.pods[place]
                for operator in self.operators():
                    operator.world.saw_pod(dataclasses.replace(pod, phase="Failed", gone=True))

    async def runs(self, name: str = "a", log: bytes = b"", number: int = 0) -> None:
        """The agent has started and printed ``log``."""
        if log:
            self.log(log, name, number)
        await self.pod(name, number=number, main=builders.running())
        await self.until(lambda: self.status(name).get("phase") == "Running")

    def log(self, data: bytes, name: str = "a", number: int = 0) -> pathlib.Path:
        """The agent prints."""
        file_name = f"{name}.{number}.pod.ndjson" if number else f"{name}.pod.ndjson"
        path = self.volume / "instances/default/run-logs/acme/coder" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
        return path

    async def exit(self, code: int = 0, name: str = "a", number: int = 0, **state: Any) -> None:
        """The agent ends; the Job follows."""
        path = self.log(b"", name, number)
        message = f"stdoutBytes={path.stat().st_size} stderrBytes=0"
        main = builders.terminated(exit_code=code, **{"message": message, **state})
        await self.pod(name, phase="Failed" if code else "Succeeded", number=number, main=main)
        self.finish_job(name, "Failed" if code else "Complete", number=number)

    def finish_job(self, name: str = "a", condition: str = "Complete", number: int = 0) -> None:
        """The watch shows that the Job has ended."""
        body = self.job_body(name, number)
        assert body is not None
        body["status"] = {"conditions": [{"type": condition, "status": "True", "reason": "X"}]}
        body["metadata"]["resourceVersion"] = self.kube.next_version()
        for operator in self.operators():
            operator.world.saw_job(facts.parse_job(body))

    def remove_job(self, name: str = "a", number: int = 0) -> None:
        """The watch shows that the Job and its pod are gone."""
        body = self.job_body(name, number)
        assert body is not None
        del self.kube.jobs["team-a", body["metadata"]["name"]]
        self.remove_pods(body["metadata"]["uid"])
        for operator in self.operators():
            operator.world.saw_job(dataclasses.replace(facts.parse_job(body), gone=True))

    async def end_tasks(self) -> None:
        """The process ends, wherever it is."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def close(self) -> None:
        """End whatever is left."""
        for operator in self.operators():
            await operator.end_tasks()
            operator.tailer.close()
            operator.deps.caretaker.close()


@contextlib.asynccontextmanager
async def opened(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A scene whose waits between retries are a few milliseconds."""
    made = Scene(folder)
    monkeypatch.setattr("agentrun_operator.runner.supervisor._FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("agentrun_operator.runner.supervisor._LONGEST_BACKOFF_SECONDS", 0.005)
    monkeypatch.setattr("agentrun_operator.runner.supervisor._now", made.now)
    yield made
    await made.close()


async def play(scene: Scene, task: asyncio.Task[None]) -> Body:
    """The agent does its work; the status at the end."""
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: "session" in scene.status())
    scene.log(RESULT)
    await scene.exit(0)
    return await scene.finish(task)
