"""The WorkerPools of a namespace that a balancer serves, followed by list and watch.

Called by `app.runtime.balancer`: `run` in a task of its own. What always holds:

- each time, all pools that concern this balancer are told: those that name it, and those that name
  none; before the first list has come through, nothing is;
- a spec that cannot be accepted leaves the last good one of the same object in force; the reason is
  told beside it, and logged once. An object that never had a good one is told without;
- without the API server, what was told last stays in force. Only reading is needed: `list` and
  `watch` on workerpools.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from app.config.errors import ConfigError
from app.config.resource import GROUP, PLURAL, VERSION, Identity, identify, parse_resource
from app.config.workerpool import WorkerPool
from app.discovery.api_requests import Resource
from app.discovery.api_source import ApiSource
from app.discovery.credentials import connect
from app.discovery.list_watch import Condition, Limits, ListWatch
from app.discovery.source import Object

logger = logging.getLogger(__name__)

WORKER_POOLS = Resource(GROUP, VERSION, PLURAL)


@dataclass(frozen=True, slots=True)
class PoolResource:
    """One WorkerPool: what it is now, and what of it is in force."""

    identity: Identity
    """The object as it stands, accepted or not."""

    in_force: WorkerPool | None
    """The last good spec; None if there has been none."""

    generation: int = 0
    """The generation of the spec in force."""

    complaint: str = ""
    """Why the object as it stands is not in force; empty if it is."""


Apply = Callable[[Sequence[PoolResource]], None]


class PoolSet:
    """The store of the list-watch: all WorkerPools of the namespace, and what is in force."""

    def __init__(self, balancer: str, apply: Apply) -> None:
        self._balancer = balancer
        self._apply = apply
        self._pools: dict[str, PoolResource] = {}
        """By name."""

        self._told: tuple[PoolResource, ...] | None = None

    def replace(self, objects: Sequence[Object]) -> None:
        """These are all pools."""
        known, self._pools = self._pools, {}
        for obj in objects:
            self._take(obj, known.get(obj["metadata"]["name"]))
        self._tell()

    def put(self, obj: Object) -> None:
        """Take in a new pool, or a new state of one."""
        self._take(obj, self._pools.get(obj["metadata"]["name"]))
        self._tell()

    def remove(self, obj: Object) -> None:
        """Forget a pool."""
        self._pools.pop(obj["metadata"]["name"], None)
        self._tell()

    def _take(self, obj: Object, before: PoolResource | None) -> None:
        identity = identify(obj)
        if before is not None and before.identity.uid != identity.uid:
            before = None  # another object of the same name
        try:
            taken = PoolResource(identity, parse_resource(obj), identity.generation)
        except ConfigError as error:
            taken = before or PoolResource(identity, None)
            taken = replace(taken, identity=identity, complaint=str(error))
            if before is None or before.complaint != taken.complaint:
                then = "the last good spec stays in force" if taken.in_force else "it is not served"
                logger.error("%s: %s: %s", identity, then, error)  # noqa: TRY400 - it says it all
        self._pools[identity.name] = taken

    def _tell(self) -> None:
        told = tuple(pool for pool in self._pools.values() if self._concerns(pool))
        if told != self._told:
            self._told = told
            self._apply(told)

    def _concerns(self, pool: PoolResource) -> bool:
        return pool.in_force is None or pool.in_force.spec.balancer in {None, self._balancer}


class PoolWatch:
    """Follows the WorkerPools; `namespace`: None for the one that comes with the credentials."""

    def __init__(
        self,
        balancer: str,
        namespace: str | None,
        apply: Apply,
        *,
        kubeconfig: Path | None = None,
        limits: Limits | None = None,
        random: Random | None = None,
    ) -> None:
        self._source = ApiSource(WORKER_POOLS, partial(connect, kubeconfig), namespace=namespace)
        self._list_watch = ListWatch(
            self._source,
            PoolSet(balancer, apply),
            name="WorkerPools" + (f" in namespace {namespace}" if namespace else ""),
            limits=limits,
            random=random,
        )

    @property
    def condition(self) -> Condition:
        """How the list-watch is doing."""
        return self._list_watch.condition

    async def run(self) -> None:
        """Follow them until cancelled."""
        try:
            await self._list_watch.run()
        finally:
            await self._source.close()
