"""The replicas of the balancers: which there are, and what they say on their admin ports.

Called by `operating`. A balancer is found by its admin Service, whose label `LABEL` is its name;
its replicas are that Service's endpoints, ready or not. They are asked for `/pools` and for the
events since the last ones, all at once and with a short patience; what a replica said last counts
for a while longer, so that one lost packet does not make a pool look out of order.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from app.config.addresses import AddressPort
from app.discovery.slices import SERVICE_LABEL, SliceSet
from app.discovery.source import Object

LABEL = "leastwise.io/balancer"
"""On the admin Service of a balancer: its name, as WorkerPools give it."""

ADMIN_PORT = "admin"
"""The name of that Service's port."""

TIMEOUT = 2.0
"""Seconds for each answer."""

REMEMBERED = 10.0
"""Seconds for which the last answer counts when there is no new one."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ToldWorker(_Told):
    """A worker as a replica sees it."""

    name: str
    phase: str
    in_rotation: bool


class ToldPool(_Told):
    """A pool as a replica serves it."""

    name: str
    uid: str
    generation: int
    complaint: str
    in_flight: int
    queued: int
    workers: tuple[ToldWorker, ...]


class _ToldPools(_Told):
    pools: tuple[ToldPool, ...]


class ToldEvent(_Told):
    """Something that happened."""

    number: int
    time: float
    pool: str
    kind: str
    text: str
    worker: str
    reason: str
    after: float | None


class _ToldEvents(_Told):
    instance: str
    last: int
    lost: int
    events: tuple[ToldEvent, ...]


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of a balancer."""

    balancer: str
    address: str
    terminating: bool
    pools: Mapping[str, ToldPool] | None = None
    """By UID; None if it does not answer."""

    error: str = ""
    """Why it does not."""


@dataclass(slots=True)
class _Known:
    """What is remembered of a replica."""

    pools: Mapping[str, ToldPool] | None = None
    heard_at: float = 0.0
    error: str = ""
    instance: str = ""
    number: int = 0


@dataclass(slots=True)
class Look:
    """What was seen of all replicas."""

    replicas: list[Replica] = field(default_factory=list)
    events: list[ToldEvent] = field(default_factory=list)
    """New ones, of all replicas."""


def balancers(services: Iterable[Object]) -> dict[str, str]:
    """Find the balancers of the namespace: their names, each with that of its admin Service."""
    named: dict[str, str] = {}
    for service in services:
        name = (service["metadata"].get("labels") or {}).get(LABEL)
        if name:
            named[name] = service["metadata"]["name"]
    return named


def slices_of(service: str, slices: Iterable[Object]) -> list[Object]:
    """Return the EndpointSlices of one Service."""
    return [s for s in slices if (s["metadata"].get("labels") or {}).get(SERVICE_LABEL) == service]


class Replicas:
    """Asks the replicas."""

    def __init__(self, client: httpx.AsyncClient, token: Callable[[], str] | None = None) -> None:
        self._client = client
        self._token = token
        self._known: dict[str, _Known] = {}
        self._began = True

    async def look(self, services: list[Object], slices: list[Object], now: float) -> Look:
        """Ask all of them."""
        found: dict[str, Replica] = {}
        for name, service in balancers(services).items():
            addresses = SliceSet(ADMIN_PORT)
            addresses.replace(slices_of(service, slices))
            for spec in addresses.endpoints().values():
                address = str(AddressPort(spec.host, spec.port))
                found[address] = Replica(name, address, spec.terminating)
        for address in self._known.keys() - found.keys():
            del self._known[address]
        look = Look()
        await asyncio.gather(*(self._ask(address, now, look) for address in found))
        self._began = self._began and not any(known.instance for known in self._known.values())
        for address, replica in found.items():
            known = self._known[address]
            fresh = known.pools is not None and now - known.heard_at <= REMEMBERED
            look.replicas.append(
                Replica(
                    replica.balancer,
                    address,
                    replica.terminating,
                    known.pools if fresh else None,
                    "" if fresh else known.error,
                )
            )
        return look

    async def _ask(self, address: str, now: float, look: Look) -> None:
        known = self._known.setdefault(address, _Known())
        try:
            pools = _ToldPools.model_validate(await self._get(address, "/pools"))
            events = await self._events(address, known)
        except (httpx.HTTPError, ValidationError, ValueError) as error:
            what = "an answer that is not understood"
            is_http = isinstance(error, httpx.HTTPError)
            known.error = (str(error) or type(error).__name__) if is_http else what
            return
        known.pools = {pool.uid: pool for pool in pools.pools}
        known.heard_at = now
        look.events += events

    async def _events(self, address: str, known: _Known) -> tuple[ToldEvent, ...]:
        """Ask for what happened since the last time.

        What happened before the operator was there is not told: it would be told again after each
        restart. A process that is new while the operator runs is asked from its beginning.
        """
        told = _ToldEvents.model_validate(await self._get(address, f"/events?since={known.number}"))
        first = not known.instance
        if not first and told.instance != known.instance:
            told = _ToldEvents.model_validate(await self._get(address, "/events"))
        known.instance, known.number = told.instance, told.last
        return () if first and self._began else told.events

    async def _get(self, address: str, path: str) -> Object:
        headers = {"Authorization": f"Bearer {self._token()}"} if self._token else {}
        answer = await self._client.get(f"http://{address}{path}", headers=headers, timeout=TIMEOUT)
        answer.raise_for_status()
        told: Object = answer.json()
        return told
