"""``Client``: what ``AsyncClient`` does, for programs without an event loop.

It holds no logic: every call is handed to an ``AsyncClient`` on a loop of its own, in a thread of its own, so that
watches go on between two calls. It may be used by several threads at a time.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from agentrun_operator import models, settings, stream
from agentrun_operator.client import aio, costs, hub, submission

T = TypeVar("T")

_END = object()


class Client:
    """AgentRuns of one namespace. Every method is explained at ``AsyncClient``'s of the same name.

    >>> with client.Client.connect(namespace="team-a") as runs:
    ...     run = runs.submit({
    ...         "companyId": "acme", "agent": {"id": "ada"}, "runId": "run-8", "prompt": {"text": "Fix the login page."}
    ...     })
    ...     again = runs.submit({
    ...         "companyId": "acme", "agent": {"id": "ada"}, "runId": "run-8", "prompt": {"text": "Fix the login page."}
    ...     })
    ...     assert run.metadata.uid == again.metadata.uid  # a run id belongs to one run
    ...     run = runs.wait(run, seconds=3600)
    ...     said = [type(event).__name__ for event in runs.transcript(run)]
    ...     (cost,) = runs.cost(company="acme")
    >>> run.status.phase.value, run.status.result.text
    ('Succeeded', 'The login page works again.')
    >>> said
    ['Init', 'Assistant', 'Result']
    >>> str(cost.usd), cost.usage.output_tokens
    ('0.012', 34)
    >>> client.session_after(run).id  # what the agent's next run continues: its spec.session
    '76cf1c2d-13aa-4f1c-8762-177658e8acfd'
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, aio.AsyncClient]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentrun-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._call(make())
        except BaseException:
            self._stop()
            raise

    @classmethod
    def connect(
        cls,
        *,
        namespace: str | None = None,
        context: str | None = None,
        config: settings.Settings = aio.NOT_MOUNTED,
        patience: float = 60.0,
    ) -> Self:
        """See ``AsyncClient.connect``."""
        return cls(
            lambda: aio.AsyncClient.connect(namespace=namespace, context=context, config=config, patience=patience)
        )

    @property
    def namespace(self) -> str:
        """See ``AsyncClient.namespace``."""
        return self._client.namespace

    def close(self) -> None:
        """End the watches, close all connections, and end the thread."""
        if self._thread.is_alive():
            self._call(self._client.close())
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        spec: submission.Spec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> models.AgentRun:
        """See ``AsyncClient.submit``."""
        return self._call(self._client.submit(spec, name=name, labels=labels, annotations=annotations))

    def get(self, run: aio.Run) -> models.AgentRun:
        """See ``AsyncClient.get``."""
        return self._call(self._client.get(run))

    def cost(
        self,
        *by: costs.By,
        company: str | None = None,
        agent: str | None = None,
        task: str | None = None,
        since: str = "",
    ) -> list[costs.Cost]:
        """See ``AsyncClient.cost``."""
        return self._call(self._client.cost(*by, company=company, agent=agent, task=task, since=since))

    def list(
        self,
        *,
        company: str | None = None,
        agent: str | None = None,
        task: str | None = None,
        phases: Iterable[models.Phase | None] | None = None,
    ) -> list[models.AgentRun]:
        """See ``AsyncClient.list``."""
        return self._call(self._client.list(company=company, agent=agent, task=task, phases=phases))

    def cancel(self, run: aio.Run) -> None:
        """See ``AsyncClient.cancel``."""
        self._call(self._client.cancel(run))

    def retry(
        self, run: aio.Run, *, run_id: str | None = None, name: str | None = None, resume: bool = True
    ) -> models.AgentRun:
        """See ``AsyncClient.retry``."""
        return self._call(self._client.retry(run, run_id=run_id, name=name, resume=resume))

    def wait(self, run: aio.Run, *, seconds: float | None = None) -> models.AgentRun:
        """See ``AsyncClient.wait``."""
        return self._call(self._client.wait(run, seconds=seconds))

    def watch(self, run: aio.Run) -> Iterator[models.AgentRun]:
        """See ``AsyncClient.watch``."""
        return self._iterate(self._client.watch(run))

    def watch_all(
        self, *, company: str | None = None, agent: str | None = None, task: str | None = None
    ) -> Iterator[Sequence[hub.Change]]:
        """See ``AsyncClient.watch_all``."""
        return self._iterate(self._client.watch_all(company=company, agent=agent, task=task))

    def transcript(
        self,
        run: aio.Run,
        *,
        follow: bool = True,
        attempt: int | None = None,
        hide: Iterable[str] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> Iterator[stream.Event]:
        """See ``AsyncClient.transcript``."""
        return self._iterate(self._client.transcript(run, follow=follow, attempt=attempt, hide=hide, tell=tell))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the loop, and wait for what it gives. Ctrl-C here ends it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> object:
            return await anext(source, _END)

        async def end() -> None:
            await source.aclose()  # type: ignore[attr-defined]  # those of the client are generators

        try:
            while (item := self._call(step())) is not _END:
                yield cast("T", item)
        finally:
            self._call(end())

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
