"""What the admin port shows of the replicas that act as one."""

from app.admin.metrics import families
from app.admin.stream import Feed
from app.admin.workers import workers_of
from app.balancing.lease import Lease
from app.balancing.pool import Pool
from app.peers.view import ReplicaView, Standing
from app.peers.view import View as All
from tests.unit.admin.views import Balancer, View


def seen(pool: Pool, *, accounted: bool = True) -> All:
    """What an arbiter says of itself and three others, one of them in its second process."""
    key = pool.key
    return All(
        term=7,
        arbiter="a.1",
        accounted=accounted,
        reserved={key: 2},
        replicas=[
            ReplicaView("a.1", "lb-a", "arbiter", holds={key: 1}, waiting={key: 2}),
            ReplicaView("b.1", "lb-b", "dead", holds={key: 2}),
            ReplicaView("b.2", "lb-b", "following", holds={key: 1}),
            ReplicaView("c.1", "lb-c", "silent", leaving=True),
        ],
        in_flight={key: {"worker-1": 4, "worker-2": 2}},
        queued={key: 5},
    )


def samples(view: View) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("leastwise_"), *sample.labels.values()): sample.value
        for family in families(Balancer(view))
        for sample in family.samples
    }


def test_alone_there_is_nothing_of_it() -> None:
    view = View()
    assert workers_of(view, {}, 0.0).replicas is None
    assert workers_of(view, {}, 0.0).workers[0].in_flight_of_all is None
    assert not {name for name, *_ in samples(view) if "arbiter" in name or "replica" in name}


def test_who_decides_and_what_each_holds() -> None:
    view = View()
    view.standing = Standing("b.2", "following", 7, 1.25, seen(view.pool, accounted=False))
    shown = workers_of(view, {}, 0.0)
    assert shown.replicas is not None
    assert shown.replicas.model_dump() == {
        "role": "following",
        "term": 7,
        "arbiter": "lb-a",
        "accounted": False,
        "reserved": 2,
        "without_arbiter_seconds": 1.25,
        "in_flight": 6,
        "queued": 5,
        "replicas": [
            {"pod": "lb-a", "state": "arbiter", "leaving": False, "holds": 1, "waiting": 2},
            {"pod": "lb-b", "state": "dead", "leaving": False, "holds": 2, "waiting": 0},
            {"pod": "lb-b", "state": "following", "leaving": False, "holds": 1, "waiting": 0},
            {"pod": "lb-c", "state": "silent", "leaving": True, "holds": 0, "waiting": 0},
        ],
    }
    assert [w.in_flight_of_all for w in shown.workers] == [4, 2, 0]


def test_the_feed_counts_all_and_says_what_is_wrong() -> None:
    view = View()
    view.standing = Standing("b.2", "following", 7, 0.0, seen(view.pool, accounted=False))
    told = Feed(view).everything()
    column = told["columns"].index("in_flight")
    assert [line[column] for line in told["workers"]] == [4, 2, 0]
    assert (told["pool"]["in_flight"], told["pool"]["queued"]) == (6, 5)
    (link,) = told["pools"]
    assert (link["in_flight"], link["queued"]) == (6, 5)
    assert told["troubles"] == [
        "2 slots count as held, until it is known what lb-b and lb-c had.",
    ]
    view.standing = Standing("b.2", "seeking", 7, 0.0, None)
    assert Feed(view).everything()["troubles"] == [
        "No replica decides for all at the moment: requests wait."
    ]


def test_without_an_arbiter_a_replica_shows_its_own() -> None:
    view = View()
    lease = view.pool.hold(view.pool.endpoints["worker-3"].spec, 0.0, elsewhere=False)
    view.standing = Standing("b.2", "seeking", 7, 3.0, None)
    shown = workers_of(view, {}, 0.0)
    assert shown.replicas is not None
    assert (shown.replicas.arbiter, shown.replicas.accounted) == ("", False)
    assert [w.in_flight_of_all for w in shown.workers] == [0, 0, 1]
    assert isinstance(lease, Lease)


def test_slots_of_others_are_not_this_replicas_own() -> None:
    """Else the sum over the replicas, which Prometheus and the operator take, counts them twice."""
    view = View()
    pool = view.pool
    for name, elsewhere in (("worker-1", True), ("worker-1", False), ("worker-2", True)):
        pool.hold(pool.endpoints[name].spec, 0.0, elsewhere=elsewhere)
    view.standing = Standing("a.1", "deciding", 7, 0.0, seen(pool))
    shown = workers_of(view, {}, 0.0)
    assert (shown.in_flight, [w.in_flight for w in shown.workers]) == (1, [1, 0, 0])
    metrics = samples(view)
    assert metrics["requests_in_flight", "demo"] == 1
    assert metrics["worker_in_flight", "demo", "worker-2"] == 0


def test_the_arbiter_alone_tells_what_it_alone_knows() -> None:
    view = View()
    view.standing = Standing("a.1", "deciding", 7, 0.5, seen(view.pool))
    metrics = samples(view)
    assert metrics["arbiter",] == 1
    assert metrics["arbiter_term",] == 7
    assert metrics["without_arbiter_seconds_total",] == 0.5
    assert metrics["replicas", "silent"] == 1
    assert metrics["replicas", "lost"] == 0
    assert metrics["slots_reserved", "demo"] == 2
    assert metrics["replica_slots", "demo", "lb-b"] == 3  # of both its processes
    view.standing = Standing("b.2", "following", 7, 0.0, seen(view.pool))
    metrics = samples(view)
    assert metrics["arbiter",] == 0
    assert not [name for name, *_ in metrics if name in {"replicas", "slots_reserved"}]
