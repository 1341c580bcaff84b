"""``AsyncClient``: submit runs, wait for them, read what they do and what they cost.

What it survives: an API server that does not answer for a while (``patience``), answers that are lost, watches that
break or have a gap. What it refuses: to guess. A request that was refused is raised with the API's own sentence, and a
run that was deleted while somebody waits for it is an error.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import structlog

from agentrun_operator import errors, kube, models, redaction, settings, shapes, stream
from agentrun_operator.client import costs, faults, hub, runlog, submission

T = TypeVar("T")
Run = str | models.AgentRun

_POLL_SECONDS = 30.0  # without a word of the watch; it may be forbidden, or dead without anybody having noticed
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_REQUEST_SECONDS = 30.0
NOT_MOUNTED = settings.Settings(data_path="")


class Api(runlog.Api, Protocol):
    """What is asked of the Kubernetes API; every method raises ``errors.ApiError`` subclasses only."""

    async def close(self) -> None:
        """Close all connections."""

    def all_runs(self, namespace: str = "") -> kube.Source[Mapping[str, Any]]:
        """AgentRuns in ``namespace`` ("" = everywhere)."""

    async def create_run(self, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create an AgentRun. Raises AlreadyExistsError, RejectedError."""

    async def cancel_run(self, run: kube.Ref, *, replaced_by: str = "") -> None:
        """Set spec.cancel of exactly this run. Raises ConflictError."""


class AsyncClient:
    """AgentRuns of one namespace (``""``: of all; then runs are named by the objects that this client gave).

    Make one with ``connect`` and use it with ``async with``. Methods raise ``errors.ApiError`` when the API server
    refuses, or does not answer for ``patience`` seconds; a run that is not there is a ``NotFoundError``.

    >>> async def main():
    ...     async with await client.AsyncClient.connect(namespace="team-a") as runs:
    ...         run = await runs.submit({
    ...             "companyId": "acme", "agent": {"id": "ada"}, "runId": "run-7",
    ...             "prompt": {"text": "Fix the login page."},
    ...         })
    ...         async for run in runs.watch(run):
    ...             print(run.status.phase, run.status.turns or 0)
    ...         return run.status.cost_usd
    >>> asyncio.run(main())
    None 0
    Running 1
    Succeeded 2
    '0.012'
    """

    def __init__(
        self, api: Api, *, namespace: str, config: settings.Settings = NOT_MOUNTED, patience: float = 60.0
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._config = config
        self._patience = patience
        self._hubs: dict[str, hub.Hub] = {}

    @classmethod
    async def connect(
        cls,
        *,
        namespace: str | None = None,
        context: str | None = None,
        config: settings.Settings = NOT_MOUNTED,
        patience: float = 60.0,
    ) -> Self:
        """A client with the kubeconfig that KUBECONFIG names, else the pod's service account, else ~/.kube/config.

        ``namespace`` None is the one that kubectl would take. ``config`` says with ``data_path`` and ``data_mount``
        where the shared volume is mounted here, if it is: transcripts are then read from it. Raises SettingsError.
        """
        leave_logging_to_the_program()
        place = kube.default_namespace(context) if namespace is None else namespace
        api = await kube.connect(timeout=_REQUEST_SECONDS, context=context, watches=16)
        return cls(api, namespace=place, config=config, patience=patience)

    @property
    def namespace(self) -> str:
        """The namespace of runs that are named by their names."""
        return self._namespace

    async def close(self) -> None:
        """End the watches and close all connections."""
        for each in self._hubs.values():
            await each.close()
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self,
        spec: submission.Spec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> models.AgentRun:
        """Create a run, once: with the same ``runId``, or the same ``name``, a second call gives the first one's run.

        ``spec`` is a model, or a mapping with the names of docs/api.md. A run with neither id nor name is a new one
        with each call, though never two with one. Raises InvalidSpecError; OtherRunError if the run that is there is
        not the one that is meant. Once a run was deleted, nobody can tell that it was submitted before.
        """
        chosen = name or submission.name_of(spec) or f"run-{secrets.token_hex(5)}"
        body = submission.build_run(spec, namespace=self._place(), name=chosen)
        body["metadata"].update(shapes.present(labels=labels or None, annotations=annotations or None))

        async def create() -> Mapping[str, Any]:
            try:
                return await self._api.create_run(body)
            except errors.AlreadyExistsError:
                return await self._api.get_run(self._place(), chosen)

        made = models.AgentRun.parse(await self._persist(create))
        differ = submission.differences(body, made)
        if differ:
            raise faults.OtherRunError(
                f"there is an AgentRun {chosen} already, with another {', '.join(differ)}; give the run another "
                f"runId or name, or delete that one"
            )
        return made

    async def get(self, run: Run) -> models.AgentRun:
        """The run as it is now. Raises NotFoundError; RunGoneError if another one has its name by now."""
        namespace, name = self._where(run)
        found = models.AgentRun.parse(await self._persist(lambda: self._api.get_run(namespace, name)))
        if isinstance(run, models.AgentRun) and run.metadata.uid != found.metadata.uid:
            raise _gone(name)
        return found

    async def cost(
        self,
        *by: costs.By,
        company: str | None = None,
        agent: str | None = None,
        task: str | None = None,
        since: str = "",
    ) -> list[costs.Cost]:
        """What the runs have cost that are still there: one sum for each group.

        ``since`` is a day, ``2026-11-21``: only what counts for it or a later one.
        """
        runs = await self.list(company=company, agent=agent, task=task)
        return costs.sum_up([run for run in runs if costs.day_of(run) >= since], by)

    async def list(
        self,
        *,
        company: str | None = None,
        agent: str | None = None,
        task: str | None = None,
        phases: Iterable[models.Phase | None] | None = None,
    ) -> list[models.AgentRun]:
        """The runs of a company, an agent, a task, in certain phases (None: not seen by an operator); oldest first."""
        bodies, _ = await self._persist(self._api.all_runs(self._namespace).list)
        among = None if phases is None else set(phases)
        found = [
            models.AgentRun.parse(body) for body in bodies if belongs(body, company=company, agent=agent, task=task)
        ]
        found = [run for run in found if among is None or run.status.phase in among]
        return sorted(found, key=lambda run: (run.metadata.creation_timestamp, run.metadata.name))

    async def cancel(self, run: Run) -> None:
        """Stop a run: its agent is told, and its Job is gone within 15 s. One that has ended is left as it is.

        It returns when the wish is written down; ``wait`` tells when it is done.
        """
        found = await self.get(run)
        meta = found.metadata
        ref = kube.Ref(namespace=meta.namespace, name=meta.name, uid=meta.uid)

        async def cancel() -> None:
            with contextlib.suppress(errors.ConflictError):
                return await self._api.cancel_run(ref)
            raise errors.UnavailableError(f"AgentRun {meta.name} was changed at the same moment", status=409)

        if not found.is_final:
            await self._persist(cancel)

    async def retry(
        self, run: Run, *, run_id: str | None = None, name: str | None = None, resume: bool = True
    ) -> models.AgentRun:
        """Submit the same work again as a run of its own, in the session in which that one ended.

        With ``resume=False``, or if that session must not be resumed, it begins a new one. With a ``run_id`` or a
        ``name`` it is done once, as with ``submit``.
        """
        return await self.submit(submission.build_retry(await self.get(run), run_id=run_id, resume=resume), name=name)

    async def wait(self, run: Run, *, seconds: float | None = None) -> models.AgentRun:
        """The run when it has ended, however it did. Raises RunGoneError; TimeoutError after ``seconds``."""
        async with asyncio.timeout(seconds):
            async with contextlib.aclosing(self.watch(run)) as states:  # type: ignore[type-var]
                async for state in states:
                    if state.is_final:
                        return state
        raise AssertionError("watch ends with a final state")

    async def watch(self, run: Run) -> AsyncIterator[models.AgentRun]:
        """The run now, and each time that it changed, until it has ended. Steps may be missed, the last one never.

        Raises RunGoneError when it is deleted.
        """
        namespace, name = self._where(run)

        def wants(body: Mapping[str, Any]) -> bool:
            return (body["metadata"]["namespace"], body["metadata"]["name"]) == (namespace, name)

        with self._hub(namespace).subscribe(wants) as told:
            state = await self.get(run)
            while True:
                yield state
                if state.is_final:
                    return
                state = await self._next(state, told)

    async def watch_all(
        self, *, company: str | None = None, agent: str | None = None, task: str | None = None
    ) -> AsyncIterator[Sequence[hub.Change]]:
        """What changed among the runs, from all that are there on, for ever; at least every 30 s, if only nothing."""
        await self._persist(self._api.all_runs(self._namespace).list)  # or it is refused, in words
        with self._hub(self._namespace).subscribe(
            lambda body: belongs(body, company=company, agent=agent, task=task), all_anew=True
        ) as told:
            while True:
                yield await told.take(_POLL_SECONDS)

    async def transcript(
        self,
        run: Run,
        *,
        follow: bool = True,
        attempt: int | None = None,
        hide: Iterable[str] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> AsyncIterator[stream.Event]:
        """What the agent said and did, as typed events; with ``follow`` to the end of the run, also of new attempts.

        It comes from the log file, where the shared volume is mounted here, else from the pod, as long as that exists.
        What has the shape of a token is taken out, and so is each value in ``hide``. ``tell`` gets sentences that are
        no part of it. Raises NoLogError, RunGoneError.
        """
        namespace, name = self._where(run)
        await self.get(run)  # or it is refused, or waited for
        wanted = runlog.Wanted(namespace=namespace, name=name, follow=follow, attempt=attempt)
        redactor = redaction.Redactor(hide)

        async def find_secrets(_: Mapping[str, Any]) -> runlog.Known:
            return runlog.Known(redactor)

        log = runlog.RunLog(self._api, self._config, wanted, find_secrets=find_secrets, tell=tell)
        clean, lines = redaction.Stream(redactor), stream.LineDecoder()
        async with contextlib.aclosing(log.read(_Screen(redactor))) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                for line in lines.decode(clean.feed(chunk)):
                    if (event := stream.parse(line)) is not None:
                        yield event
        for line in [*lines.decode(clean.finish()), *lines.flush()]:
            if (event := stream.parse(line)) is not None:
                yield event

    # ------------------------------------------------------------------------------------------------------ inside

    def _place(self) -> str:
        if not self._namespace:
            raise faults.InvalidSpecError("metadata.namespace: is required; connect with a namespace to submit a run")
        return self._namespace

    def _where(self, run: Run) -> tuple[str, str]:
        if isinstance(run, models.AgentRun):
            return run.metadata.namespace, run.metadata.name
        return self._place(), run

    def _hub(self, namespace: str) -> hub.Hub:
        if namespace not in self._hubs:
            self._hubs[namespace] = hub.Hub(self._api.all_runs(namespace))
        return self._hubs[namespace]

    async def _next(self, state: models.AgentRun, told: hub.Subscription) -> models.AgentRun:
        """The next state of the run. Raises RunGoneError."""
        while True:
            changes = await told.take(_POLL_SECONDS)
            same = [c.body for c in changes if not c.gone and c.body["metadata"]["uid"] == state.metadata.uid]
            try:
                # A list may be older than the run that it does not show, so its absence is looked into.
                found = models.AgentRun.parse(same[0]) if same else await self.get(state)
            except errors.NotFoundError as e:
                raise _gone(state.metadata.name) from e
            except (errors.UnavailableError, errors.ForbiddenError):
                continue  # whoever waits for a run has all the time in the world
            if _version(found) > _version(state):
                return found

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. An API server that has just started forbids everything for a moment."""
        loop = asyncio.get_running_loop()
        until, pause, restarting = loop.time() + self._patience, _FIRST_PAUSE_SECONDS, False
        while True:
            try:
                return await call()
            except (errors.UnavailableError, errors.ForbiddenError) as e:
                restarting = restarting or isinstance(e, errors.UnavailableError)
                wait = max(pause, getattr(e, "retry_after", 0.0))
                if not restarting or loop.time() + wait > until:
                    raise
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


class _Screen:
    """Where ``runlog`` leaves what it knows."""

    def __init__(self, redactor: redaction.Redactor) -> None:
        self.redactor = redactor

    def go_live(self) -> None:
        """Of no interest."""


def belongs(
    body: Mapping[str, Any], *, company: str | None = None, agent: str | None = None, task: str | None = None
) -> bool:
    """Whether the AgentRun ``body`` (as JSON) is of that company, agent and task; None: of any."""
    spec = body["spec"]
    wanted = ((company, spec.get("companyId")), (agent, spec["agent"].get("id")), (task, spec.get("taskId")))
    return all(want is None or want == there for want, there in wanted)


def _gone(name: str) -> faults.RunGoneError:
    return faults.RunGoneError(f"the AgentRun {name} was deleted before it had ended, or another one has its name now")


def _version(run: models.AgentRun) -> int:
    """How new a state is. The API server's versions are numbers that grow."""
    return int(run.metadata.resource_version or 0)


def leave_logging_to_the_program() -> None:
    """Hand our few log events to ``logging``; without that, structlog would print them on standard output."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.add_log_level,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )
