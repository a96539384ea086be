"""A balancer without sockets, for what looks at balancers."""

from collections import Counter
from collections.abc import Mapping

from app.admin.replicas import load_of_all
from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from app.telemetry.state import Telemetry


class View:
    """A `View` of a pool of `workers`, all named, with a cap of 4."""

    def __init__(self, workers: int = 3, cap: int | None = 4) -> None:
        self.pool = Pool(Policy(max_in_flight=cap), name="demo")
        self.telemetry = Telemetry(self.pool, lambda: sum(self.retries.values()))
        self.discovery: Condition | None = None
        self.retried: Counter[Outcome] = Counter()
        self.probe_ignored = False
        self.reasons: list[str] = []
        self.standing: Standing | None = None
        self.discover(*(f"worker-{n}" for n in range(1, workers + 1)))

    @property
    def retries(self) -> Mapping[Outcome, int]:
        return self.retried

    def discover(self, *names: str) -> None:
        with self.telemetry.events.together():
            self.pool.apply_snapshot(
                [EndpointSpec(name, "10.0.0.1", 8080, name=name) for name in names], 0.0
            )

    @property
    def replicas(self) -> Standing | None:
        return self.standing

    def load(self) -> tuple[int, int]:
        if self.standing is None:
            return self.pool.in_flight, self.pool.queued
        return load_of_all(self.standing, self.pool)

    def connections(self) -> tuple[int, int]:
        return 7, 5

    def unready(self) -> list[str]:
        return self.reasons


class Pools:
    """The pools of a `Balancer`."""

    def __init__(self, served: list[View]) -> None:
        self.served = served
        self.refused: list[object] = []


class Balancer:
    """A `WatchedBalancer` with these pools; it is ready, and stands where the first one does."""

    client_connections = 7
    stopping = False

    def __init__(self, *views: View) -> None:
        self.pools = Pools(list(views))
        self.pool_watch: Condition | None = None
        self.rejected: Counter[int] = Counter()
        self.reasons: list[str] = []

    @property
    def replicas(self) -> Standing | None:
        return self.pools.served[0].standing if self.pools.served else None

    def unready(self) -> list[str]:
        return self.reasons
