"""The status of each WorkerPool, from all that is known; pure.

Called by `operating` with what `watching` and `replicas` have seen. What always holds: the same
knowledge makes the same status, but for times; `lastTransitionTime` changes only with its
condition's status. `docs/workerpool.md` lists the reasons.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.config.errors import ConfigError
from app.config.resource import Identity, identify, parse_resource
from app.config.routing import Claim, Routing, resolve
from app.config.workerpool import ServiceSpec, WorkerPool
from app.discovery.slices import SliceSet
from app.discovery.source import Object
from app.operator.replicas import Replica, ToldPool, balancers, slices_of

PHASES = ("ready", "refusing", "suspect", "unready", "draining", "ejected")
"""The phases of a worker that are counted, from the best to the worst."""

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """All that is known."""

    pools: Sequence[Object] = ()
    services: Sequence[Object] = ()
    slices: Sequence[Object] = ()
    replicas: Sequence[Replica] = ()


@dataclass(slots=True)
class Judged:
    """What is to be said of one pool."""

    identity: Identity
    status: Status


@dataclass(slots=True)
class _Case:
    """One pool, and what concerns it."""

    identity: Identity
    before: Status
    worker_pool: WorkerPool | None
    complaint: str
    serving: list[str]
    """The balancers that are to serve it."""

    replicas: list[Replica] = field(default_factory=list)
    told: list[ToldPool] = field(default_factory=list)


Verdict = tuple[str, str, str]
"""A condition's status, reason and message."""


class Judge:
    """Judges the pools of one balancer; those of all, if it has no name."""

    def __init__(self, balancer: str | None = None) -> None:
        self._balancer = balancer
        self._last_good: dict[str, WorkerPool] = {}
        """By UID: what the balancers still obey when a spec has become a bad one."""

    def judge(self, world: World, now: str) -> list[Judged]:
        """Say what each pool's status is; `now` is a time in RFC 3339."""
        names = sorted(balancers(world.services))
        cases = [self._case(obj, world, names) for obj in world.pools]
        uids = {case.identity.uid for case in cases}
        self._last_good = {u: pool for u, pool in self._last_good.items() if u in uids}
        routings = {name: resolve(self._claims(cases, name)) for name in names or [""]}
        return [
            Judged(case.identity, _status(case, world, routings, names, now))
            for case in cases
            if self._is_mine(case, names)
        ]

    def _case(self, obj: Object, world: World, names: Sequence[str]) -> _Case:
        identity = identify(obj)
        pool, complaint = None, ""
        try:
            pool = self._last_good[identity.uid] = parse_resource(obj)
        except ConfigError as error:
            complaint = str(error)
        spec = obj.get("spec")
        wanted = spec.get("balancer") if isinstance(spec, Mapping) else None
        serving = [wanted] if isinstance(wanted, str) else list(names)
        replicas = [replica for replica in world.replicas if replica.balancer in serving]
        told = [r.pools[identity.uid] for r in replicas if r.pools and identity.uid in r.pools]
        before = obj.get("status") or {}
        return _Case(identity, before, pool, complaint, serving, replicas, told)

    def _claims(self, cases: Iterable[_Case], balancer: str) -> list[Claim]:
        claims = []
        for case in cases:
            pool = self._last_good.get(case.identity.uid)
            if pool is not None and pool.spec.balancer in {None, balancer}:
                identity = case.identity
                claims.append(Claim(identity.name, identity.seniority, pool.spec.routes))
        return claims

    def _is_mine(self, case: _Case, names: Sequence[str]) -> bool:
        """Tell whether this operator writes the status: of each pool exactly one does.

        That of the balancer that serves it. If several do, or none is there of that name, it is
        that of the first balancer.
        """
        if self._balancer is None or self._balancer not in names:
            return self._balancer is None or self._balancer in case.serving or not names
        there = [name for name in case.serving if name in names] or list(names)
        return self._balancer == min(there)


def _status(
    case: _Case, world: World, routings: Mapping[str, Routing], names: Sequence[str], now: str
) -> Status:
    generation = case.identity.generation
    accepted = _accepted(case, routings)
    resolved = _resolved(case, world, names)
    endpoints = _endpoints(case, world)
    ready = _ready(case, accepted, resolved)
    available = _available(case, endpoints)
    verdicts = {
        "Accepted": accepted,
        "ResolvedRefs": resolved,
        "Ready": ready,
        "Available": available,
        "Observed": ("True", "OperatorRunning", "An operator keeps this status true."),
    }
    running = [replica for replica in case.replicas if not replica.terminating]
    return {
        "observedGeneration": generation,
        "observedAt": now,
        "conditions": [
            _condition(case.before, kind, verdict, generation, now)
            for kind, verdict in verdicts.items()
        ],
        "endpoints": endpoints,
        "inFlight": sum(pool.in_flight for pool in case.told),
        "queued": sum(pool.queued for pool in case.told),
        "ejected": sum(w.phase == "ejected" for pool in case.told for w in pool.workers),
        "balancers": {
            "total": len(running),
            "answering": sum(replica.pools is not None for replica in running),
            "current": sum(_is_current(replica, case) for replica in running),
        },
    }


def _condition(before: Status, kind: str, verdict: Verdict, generation: int, now: str) -> Status:
    status, reason, message = verdict
    since = now
    for condition in before.get("conditions", ()):
        if condition["type"] == kind and condition["status"] == status:
            since = condition["lastTransitionTime"]
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }


def _accepted(case: _Case, routings: Mapping[str, Routing]) -> Verdict:
    if case.worker_pool is None:
        return "False", "Invalid", f"Mend the spec: {case.complaint}. {_then(case)}"
    name = case.identity.name
    conflicts: list[str] = []
    lost = set()
    for balancer in case.serving:
        routing = routings.get(balancer)
        for route, other in routing.conflicts.get(name, ()) if routing else ():
            has = routing.owners[route] if routing else ""
            conflicts.append(f"{route} is claimed by {other}, too, and {has} has it")
            if has != name:
                lost.add(route)
    if not conflicts:
        return "True", "Accepted", "The spec is in order."
    message = "; ".join(dict.fromkeys(conflicts)) + ": the older pool has a route, then by name."
    routes = len(case.worker_pool.spec.routes) or 1
    return "False" if len(lost) == routes else "True", "RouteConflict", message


def _then(case: _Case) -> str:
    """Say what the balancers do meanwhile."""
    served = [pool.generation for pool in case.told]
    if not served:
        return "Until then it is not served."
    return f"Until then the balancers obey generation {min(served)}."


def _resolved(case: _Case, world: World, names: Sequence[str]) -> Verdict:
    if case.worker_pool is None or case.worker_pool.spec.service is None:
        return "Unknown", "Invalid", "Not looked at: the spec is not accepted."
    missing = [name for name in case.serving if name not in names]
    if missing:
        there = ", ".join(names) or "none"
        message = f"There is no balancer {missing[0]} here; spec.balancer may be: {there}."
        return "False", "BalancerNotFound", message
    spec = case.worker_pool.spec.service
    service = next((s for s in world.services if s["metadata"]["name"] == spec.name), None)
    if service is None:
        message = f"There is no Service {spec.name} in namespace {case.identity.namespace}."
        return "False", "ServiceNotFound", message
    if service["spec"].get("clusterIP") != "None":
        message = (
            f"Service {spec.name} is not headless: make one with clusterIP: None and the same "
            "selector, and name it here, so that nothing goes to the pods past the balancer."
        )
        return "False", "ServiceNotHeadless", message
    return _port_and_slices(spec, service, slices_of(spec.name, world.slices))


def _port_and_slices(spec: ServiceSpec, service: Object, slices: Sequence[Object]) -> Verdict:
    ports = service["spec"].get("ports") or ()
    known: set[object] = {p.get("name") for p in ports} | {p.get("port") for p in ports}
    known |= {p.get("targetPort") for p in ports}
    known |= {p.get("port") for each in slices for p in each.get("ports") or ()}
    if spec.port not in known:
        there = ", ".join(f"{p.get('name') or 'unnamed'} ({p['port']})" for p in ports) or "none"
        message = f"Service {spec.name} has no port {spec.port}; its ports are: {there}."
        return "False", "PortNotFound", message
    if not slices:
        message = f"Service {spec.name} has no EndpointSlices: does it have a selector?"
        return "False", "NoEndpointSlices", message
    return "True", "Resolved", f"Service {spec.name} has the port, and EndpointSlices."


def _is_current(replica: Replica, case: _Case) -> bool:
    told = (replica.pools or {}).get(case.identity.uid)
    return told is not None and told.generation == case.identity.generation and not told.complaint


def _ready(case: _Case, accepted: Verdict, resolved: Verdict) -> Verdict:
    """Accepted, resolved, and in force. An empty pool is ready: `helm --wait` waits for this."""
    for verdict, reason in ((accepted, "NotAccepted"), (resolved, "UnresolvedRefs")):
        if verdict[0] != "True":
            return "False", reason, verdict[2]
    running = [replica for replica in case.replicas if not replica.terminating]
    if not running:
        return "False", "NoBalancer", "No balancer pod is running."
    silent = [replica for replica in running if replica.pools is None]
    if silent:
        first = silent[0]
        message = (
            f"{len(silent)} of {len(running)} balancer pods do not answer on their admin port; "
            f"{first.address}: {first.error or 'not asked yet'}."
        )
        return "False", "BalancerNotAnswering", message
    current = sum(_is_current(replica, case) for replica in running)
    if current < len(running):
        message = (
            f"{current} of {len(running)} balancer pods obey generation {case.identity.generation}."
        )
        return "False", "Progressing", message
    if len(case.serving) > 1:
        message = (
            f"In force. spec.balancer names none, so {', '.join(case.serving)} each serve it, "
            "with a cap of their own."
        )
        return "True", "SeveralBalancers", message
    return "True", "InForce", "The balancers obey this generation."


def _available(case: _Case, endpoints: Status) -> Verdict:
    if not case.told:
        return "Unknown", "NotServed", "No balancer that answers serves it."
    if endpoints["inRotation"]:
        return "True", "EndpointsInRotation", "There are workers in rotation."
    if not endpoints["total"]:
        return "False", "NoEndpoints", "The Service has no pods: see its selector."
    worst = max((phase for phase in PHASES if endpoints[phase]), key=PHASES.index)
    message = f"No worker is in rotation; of {endpoints['total']}, {endpoints[worst]} are {worst}."
    return "False", "NoneInRotation", message


def _endpoints(case: _Case, world: World) -> Status:
    """Count the workers; one that the replicas see differently counts as the worst of them says."""
    phases: dict[str, str] = {}
    out = set()
    service = case.worker_pool.spec.service if case.worker_pool else None
    if service is not None:
        slices = SliceSet(service.port)
        slices.replace(slices_of(service.name, world.slices))
        for spec in slices.endpoints().values():
            name = spec.name or spec.identity
            phases[name] = (
                "draining" if spec.terminating else "ready" if spec.serving else "unready"
            )
    seen = {worker.name for pool in case.told for worker in pool.workers}
    for pool in case.told:
        for worker in pool.workers:
            if worker.phase in PHASES:
                known = phases.get(worker.name, PHASES[0])
                phases[worker.name] = max(known, worker.phase, key=PHASES.index)
            if not worker.in_rotation:
                out.add(worker.name)
    in_rotation = len(phases.keys() & seen - out)
    counts = {phase: sum(each == phase for each in phases.values()) for phase in PHASES}
    total = len(phases)
    return {"summary": f"{in_rotation}/{total}", "total": total, "inRotation": in_rotation} | counts
