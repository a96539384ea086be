"""Several replicas of the balancer on the same workers: what is lost against one, and how.

Whoever decides is the real pool. All ways meet the same requests, and each request comes to the
same replica, whatever the way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean

from app.balancing.policy import Policy
from benchmarks.simulation.apart import Apart, Divided, Told
from benchmarks.simulation.arbiter import Arbitrated
from benchmarks.simulation.cluster import Balancer, Cluster
from benchmarks.simulation.experiments import CAP, Figures
from benchmarks.simulation.measures import Watch, out_of_order
from benchmarks.simulation.network import Network
from benchmarks.simulation.pooled import Pooled
from benchmarks.simulation.workloads import MEAN, Workload, memoryless, memoryless_of
from benchmarks.stats import percentile, spread

NETWORK = Network()
"""Half a millisecond for a round trip, on average: some three times what asking adds between
processes of one machine (`make bench-replicas`)."""

FAR = Network(2 * NETWORK.least, 2 * NETWORK.jitter)
"""Twice as far, for the setting in which that matters most."""

SLACK = 0.005
"""Seconds by which a request may be before an earlier one and still count as in order. Of the
messages, fewer than one in 100 million takes longer."""

BRIEF = 0.2
"""Seconds of service of the mean request where the network's delay matters."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Replicas, and the workload that comes to them."""

    replicas: int
    workload: Workload
    long: int
    """How many requests show its mean wait well enough to compare it with what is aimed at."""

    aim: float = 1.02
    """The most that one view's mean wait may be, in those of one balancer."""

    aim_added: float = 0.001
    """How many seconds more are as good, where waits are short."""

    @property
    def name(self) -> str:
        """Return its key in the results."""
        return self.workload.name

    @property
    def policy(self) -> Policy:
        """Return the limits of its pool."""
        return replace(CAP, max_in_flight=self.workload.slots)

    def meets(self, wait: float, least: float) -> bool:
        """Say whether a mean wait is what is aimed at, `least` being that of one balancer."""
        return wait <= max(self.aim * least, least + self.aim_added)


def setting(
    replicas: int,
    workers: int,
    slots: int,
    load: float,
    mean: float = MEAN,
    *,
    long: int = 40_000,
) -> Setting:
    """Return a setting with exponential service."""
    name = f"{replicas}x{workers}x{slots} load {load:g}, {mean:g} s"
    told = (
        f"{replicas} replicas, {workers} workers, cap {slots}, load {load:g}, tasks of {mean:g} s"
    )
    service = memoryless if mean == MEAN else memoryless_of(mean)
    workload = Workload(name, told, service, load, workers, slots, mean=mean,
                        requests=40_000, warmup=10 * mean)  # fmt: skip
    if mean == BRIEF:
        return Setting(replicas, workload, long, aim=1.2, aim_added=0.0)
    return Setting(replicas, workload, long)


SETTINGS = (
    setting(2, 5, 4, 0.97),
    setting(2, 5, 4, 0.9),
    setting(3, 50, 4, 0.97),
    setting(5, 200, 8, 0.97, long=160_000),
    setting(3, 5, 4, 0.9, BRIEF),
)

MakeReplicas = Callable[[Setting, Network, Random, Random], Balancer]
"""Makes the replicas of one run. The second generator draws which replica a request comes to."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which replicas share the workers."""

    make: MakeReplicas
    refuses: bool = False
    """Whether the workers refuse what passes their cap."""


def one(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:  # noqa: ARG001
    """A single balancer, to which all requests come."""
    return Pooled(setting.policy, random)


def view(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:
    """One replica decides, the others ask it."""
    return Arbitrated(setting.policy, random, front, setting.replicas, network)


def divided(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:  # noqa: ARG001
    """Each has its share of every worker's slots."""
    replicas = range(setting.replicas)
    return Apart(
        [Divided(setting.policy, random, number, setting.replicas) for number in replicas], front
    )


def local(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:  # noqa: ARG001
    """Each counts what it sent itself, and knows of nothing else."""
    return Apart([Pooled(setting.policy, random) for _ in range(setting.replicas)], front)


def told(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:
    """Each tells the others by how much its counts have changed in a moment."""
    return _told(setting, network, random, front, each=False)


def told_each(setting: Setting, network: Network, random: Random, front: Random) -> Balancer:
    """Each tells the others of each change, as a message of its own."""
    return _told(setting, network, random, front, each=True)


def _told(
    setting: Setting, network: Network, random: Random, front: Random, *, each: bool
) -> Balancer:
    replicas = [Told(setting.policy, random, network, each=each) for _ in range(setting.replicas)]
    for replica in replicas:
        replica.connect([other for other in replicas if other is not replica])
    return Apart(replicas, front)


WAYS: Mapping[str, Way] = {
    "one": Way(one),
    "view": Way(view),
    "divided": Way(divided),
    "local": Way(local),
    "told_each": Way(told_each),
    "told": Way(told),
    "refusing": Way(told, refuses=True),
}


def play(setting: Setting, way: Way, seed: int, network: Network = NETWORK) -> Watch:
    """Run one setting in one way."""
    workload = replace(setting.workload, refuses=way.refuses)
    balancer = way.make(setting, network, Random(f"policy {seed}"), Random(f"front {seed}"))
    return Cluster(workload, balancer, seed).run()


def figures(watch: Watch) -> dict[str, float]:
    """Return what is compared of one run; waits in seconds, of all requests."""
    measured = watch.measured()
    waits = sorted(each.waited for each in measured)
    return {
        "wait_mean": fmean(waits),
        "wait_p50": percentile(waits, 0.50),
        "wait_p99": percentile(waits, 0.99),
        "most": float(watch.most),
        "beyond": watch.beyond,
        "disorder": out_of_order(measured, SLACK),
    }


# --- the experiments


class Runs:
    """Makes the runs, each once: several experiments look at the same ones."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, str, int, Network], dict[str, float]] = {}

    def rounds(
        self, setting: Setting, way: str, seeds: int, network: Network = NETWORK
    ) -> list[dict[str, float]]:
        """Return the figures of one way with each of the seeds."""
        return [self._run(setting, way, seed, network) for seed in range(seeds)]

    def _run(self, setting: Setting, way: str, seed: int, network: Network) -> dict[str, float]:
        key = (setting.name, setting.workload.requests, way, seed, network)
        if key not in self._made:
            self._made[key] = figures(play(setting, WAYS[way], seed, network))
        return self._made[key]


def ways_compared(runs: Runs, settings: Sequence[Setting], seeds: int) -> Figures:
    """All ways in all settings: medians and ranges over the seeds, and what the first one gave.

    `over_one` is the mean wait over all seeds in those of one balancer: with some of them next to
    nobody waits, and ratios of those alone would tell of nothing.
    """
    return {each.name: _in_setting(runs, each, seeds) for each in settings}


def _in_setting(runs: Runs, setting: Setting, seeds: int) -> Figures:
    least = fmean(run["wait_mean"] for run in runs.rounds(setting, "one", seeds))
    found: Figures = {}
    for way in WAYS:
        rounds = runs.rounds(setting, way, seeds)
        found[way] = {
            **{key: spread(run[key] for run in rounds).as_json() for key in rounds[0]},
            "over_one": fmean(run["wait_mean"] for run in rounds) / least,
            "first": rounds[0],
        }
    return found


def view_aimed_at(
    runs: Runs, settings: Sequence[Setting], seeds: int, network: Network = NETWORK
) -> Figures:
    """One view against one balancer, seed by seed, and in how many it did what was aimed at."""
    found: Figures = {}
    for each in settings:
        ones, views = runs.rounds(each, "one", seeds), runs.rounds(each, "view", seeds, network)
        pairs = [
            (ours["wait_mean"], one["wait_mean"]) for ours, one in zip(views, ones, strict=True)
        ]
        found[each.name] = {
            "requests": each.workload.requests,
            "one": spread(least for _, least in pairs).as_json(),
            "view": spread(wait for wait, _ in pairs).as_json(),
            "over_one": spread(wait / least for wait, least in pairs).as_json(),
            "added_ms": spread(1e3 * (wait - least) for wait, least in pairs).as_json(),
            "met": sum(each.meets(wait, least) for wait, least in pairs),
        }
    return found


ROUND_TRIPS = (0.00025, 0.001, 0.002, 0.004, 0.008)
"""Seconds, half of it jitter."""


def delays_compared(runs: Runs, setting: Setting, seeds: int) -> Figures:
    """The mean wait over one balancer's, by the mean round trip in ms."""
    base = [run["wait_mean"] for run in runs.rounds(setting, "one", seeds)]
    found: Figures = {}
    for trip in ROUND_TRIPS:
        network = Network(trip / 4, trip / 4)
        found[f"{1e3 * trip:g}"] = {
            way: spread(
                run["wait_mean"] / least
                for run, least in zip(runs.rounds(setting, way, seeds, network), base, strict=True)
            ).as_json()
            for way in ("view", "refusing")
        }
    return found
