"""The replicas that act as one, as JSON and as metrics: who decides, and what each holds.

Every replica shows what the arbiter said last, at most half a second ago; that one what it knows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel, Field

from app.balancing.pool import Pool
from app.peers.view import ReplicaView, Standing

_STATES = ("arbiter", "following", "silent", "lost", "dead")


class Replica(BaseModel):
    """One replica."""

    pod: str
    state: str = Field(
        description="arbiter, following, silent (nothing is known of it), lost (not heard any "
        "more, what it held is held) or dead (until workers have noticed)"
    )
    leaving: bool = Field(description="whether it is about to stop")
    holds: int = Field(description="slots of this pool that its requests have")
    waiting: int = Field(description="requests of this pool that wait there")


class Replicas(BaseModel):
    """All replicas, about one pool."""

    role: str = Field(description="of this one: joining, seeking, following or deciding")
    term: int = Field(description="of the arbiter: each new one has a higher")
    arbiter: str = Field(description="the pod of the one that decides; empty if there is none")
    accounted: bool = Field(description="whether it is known who holds what")
    reserved: int = Field(description="slots that count as held because of silent replicas")
    without_arbiter_seconds: float = Field(description="since the start, all spells together")
    in_flight: int = Field(description="slots of this pool that are taken, of all replicas")
    queued: int = Field(description="requests of this pool that wait, of all replicas")
    replicas: list[Replica]


def replicas_of(standing: Standing, pool: Pool) -> Replicas:
    """Show the replicas, with what they have of this pool."""
    view, key = standing.view, pool.key
    in_flight, queued = load_of_all(standing, pool)
    everyone = [] if view is None else view.replicas
    return Replicas(
        role=standing.role,
        term=standing.term,
        arbiter=next((each.pod for each in everyone if each.state == "arbiter"), ""),
        accounted=view is not None and view.accounted,
        reserved=0 if view is None else view.reserved.get(key, 0),
        without_arbiter_seconds=round(standing.without_arbiter, 3),
        in_flight=in_flight,
        queued=queued,
        replicas=[
            Replica(
                pod=each.pod,
                state=each.state,
                leaving=each.leaving,
                holds=each.holds.get(key, 0),
                waiting=each.waiting.get(key, 0),
            )
            for each in everyone
        ],
    )


def slots_of_all(standing: Standing, pool: Pool) -> Mapping[str, int]:
    """Return the slots that are taken by all replicas, by endpoint; its own where nobody says."""
    if standing.view is None:
        return {identity: endpoint.own for identity, endpoint in pool.endpoints.items()}
    return standing.view.in_flight.get(pool.key, {})


def load_of_all(standing: Standing, pool: Pool) -> tuple[int, int]:
    """Count what has a slot, and what waits, at all replicas; its own where nobody says."""
    view = standing.view
    in_flight = sum(slots_of_all(standing, pool).values())
    return in_flight, pool.own_queued if view is None else view.queued.get(pool.key, 0)


def troubles_of(replicas: Replicas) -> list[str]:
    """Say what a person should know before anything else."""
    if replicas.role in {"joining", "seeking"}:
        return ["No replica decides for all at the moment: requests wait."]
    troubles = []
    if replicas.reserved:
        pods = [each.pod for each in replicas.replicas if each.state in {"silent", "dead"}]
        held = f"{replicas.reserved} slots count as held"
        troubles.append(f"{held}, until it is known what {' and '.join(pods) or 'all'} had.")
    troubles += [
        f"{each.pod} is not heard any more: the {each.holds} slots that it had count as held."
        for each in replicas.replicas
        if each.state == "lost" and each.holds
    ]
    return troubles


def families(standing: Standing, pools: Mapping[str, str]) -> Iterator[Metric]:
    """Yield the metrics of the replicas; `pools`: the names of the pools by their keys.

    What only the arbiter knows is told by it alone, so that sums over the replicas hold.
    """
    deciding = standing.role == "deciding"
    decides = GaugeMetricFamily(
        "leastwise_arbiter", "Whether this replica decides for all replicas.", value=int(deciding)
    )
    yield decides
    yield GaugeMetricFamily(
        "leastwise_arbiter_term",
        "Term of the arbiter that this replica obeys; each new arbiter has a higher one.",
        value=standing.term,
    )
    yield CounterMetricFamily(
        "leastwise_without_arbiter_seconds",
        "Time in which this replica had no arbiter, since it started.",
        value=standing.without_arbiter,
    )
    view = standing.view
    if view is None or not deciding:
        return
    counted = Counter(each.state for each in view.replicas)
    states = GaugeMetricFamily(
        "leastwise_replicas",
        "Replicas that the arbiter knows, by state; told by the arbiter alone.",
        labels=["state"],
    )
    for state in _STATES:
        states.add_metric([state], counted[state])
    yield states
    reserved = GaugeMetricFamily(
        "leastwise_slots_reserved",
        "Slots that count as held because of replicas that are silent; told by the arbiter alone.",
        labels=["pool"],
    )
    holds = GaugeMetricFamily(
        "leastwise_replica_slots",
        "Slots that the requests of a replica hold; told by the arbiter alone.",
        labels=["pool", "replica"],
    )
    for key, name in pools.items():
        reserved.add_metric([name], view.reserved.get(key, 0))
        for pod, slots in _by_pod(view.replicas, key).items():
            holds.add_metric([name, pod], slots)
    yield reserved
    yield holds


def _by_pod(replicas: list[ReplicaView], key: str) -> Counter[str]:
    """Add up what the processes of a pod hold: the last one's may outlive it for a moment."""
    slots = Counter[str]()
    for each in replicas:
        slots[each.pod] += each.holds.get(key, 0)
    return slots
