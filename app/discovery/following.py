"""Where a pool's endpoints come from, whichever its spec names, now and after each change of it.

Called by `app.runtime`: `run` in a task of its own, `replace` when the pool's file has changed.
What always holds: one source at a time is in force, and only its snapshots are told. One that
takes another's place does so with its first snapshot; until then the old one is followed on. So
the old workers do not go before the new ones are known, and a source that never comes to know
anything takes nothing away.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from app.balancing.endpoint import EndpointSpec
from app.config.workerpool import PoolSpec, ServiceSpec
from app.discovery.kubernetes import KubernetesDiscovery
from app.discovery.list_watch import Condition
from app.discovery.static import StaticDiscovery

Apply = Callable[[Sequence[EndpointSpec]], None]
MakeKubernetes = Callable[[ServiceSpec, Apply], KubernetesDiscovery]


@dataclass(slots=True, eq=False)
class _Running:
    """A source, and its task."""

    source: StaticDiscovery | KubernetesDiscovery | None = None
    task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Discovery:
    """Follows the endpoints of one pool.

    `apply` is called in the event loop's thread. `make_kubernetes` makes what follows a Service,
    telling the second argument.
    """

    def __init__(self, spec: PoolSpec, apply: Apply, make_kubernetes: MakeKubernetes) -> None:
        self._spec = spec
        self._apply = apply
        self._make_kubernetes = make_kubernetes
        self._group: asyncio.TaskGroup | None = None
        self._in_force: _Running | None = None
        self._coming: _Running | None = None
        """What the spec names now, if nothing is known from there yet."""

        self._applied: Sequence[EndpointSpec] = ()

    @property
    def condition(self) -> Condition | None:
        """How the watch is doing that the spec asks for; None for listed endpoints."""
        running = self._coming or self._in_force
        if running is not None and isinstance(running.source, KubernetesDiscovery):
            return running.source.condition
        return None

    async def run(self) -> None:
        """Follow the endpoints until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                self._begin()
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                self._group = None

    def replace(self, spec: PoolSpec) -> None:
        """Follow what this spec names from now on."""
        self._spec = spec
        if self._group is None:
            return  # `run` will begin with it
        if self._coming is not None:
            if self._goes_on(self._coming):
                return
            self._coming.stop()
            self._coming = None
        if self._in_force is None or not self._goes_on(self._in_force):
            self._begin()

    def _goes_on(self, running: _Running) -> bool:
        """Let the source follow what the spec names, if it can; return whether it does."""
        source, endpoints = running.source, self._spec.endpoints
        if isinstance(source, StaticDiscovery):
            if endpoints is not None:
                source.replace(endpoints)
            return endpoints is not None
        return source is not None and source.service == self._spec.service

    def _begin(self) -> None:
        """Start what the spec names; it comes into force with what it tells first."""
        assert self._group is not None  # noqa: S101
        self._coming = coming = _Running()
        tell = partial(self._tell, coming)
        if self._spec.service is not None:
            coming.source = self._make_kubernetes(self._spec.service, tell)
        else:
            coming.source = StaticDiscovery(self._spec.endpoints or (), tell, leaving=self._applied)
        coming.task = self._group.create_task(coming.source.run())

    def _tell(self, running: _Running, snapshot: Sequence[EndpointSpec]) -> None:
        if running is self._coming:
            if self._in_force is not None:
                self._in_force.stop()
            self._in_force, self._coming = running, None
        if running is self._in_force:
            self._applied = snapshot
            self._apply(snapshot)
