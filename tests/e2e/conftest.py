"""The cluster that the scenarios run on: `--cluster=sim|kind|current`.

`kind` creates a cluster and deletes it, with the image built from this tree; `current` is whatever
KUBECONFIG points at, in a namespace of its own, with `--image`, which the nodes have or can pull.
Without the option: `current` if KUBECONFIG and `--image` are given, else `kind` if it and Docker
are installed, else `sim`.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.choosing import choose_cluster
from tests.e2e.interface import WORKERS, Cluster
from tests.e2e.real import RealCluster
from tests.e2e.replicas import REPLICAS, TASK_SECONDS, UNREFUSED, Replicas
from tests.e2e.scenario import everything_in_rotation
from tests.e2e.simulated import WATCH_TIMEOUT, SimulatedCluster


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("leastwise")
    group.addoption("--cluster", choices=["sim", "kind", "current"], help="where e2e tests run")
    group.addoption("--image", help="the image for --cluster=current, as repository:tag")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sim_only: needs faults that a real cluster cannot be given")
    config.addinivalue_line("markers", "real_only: needs what is not simulated")


def _kind_of_cluster(config: pytest.Config) -> str:
    # The options are unknown where pytest was not started with this directory: then the defaults.
    option = config.getoption("--cluster", default=None)
    return choose_cluster(option, config.getoption("--image", default=None), os.environ)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    simulated = _kind_of_cluster(config) == "sim"
    unfit = "real_only" if simulated else "sim_only"
    skip = pytest.mark.skip(reason=f"{unfit}: see --cluster")
    for item in items:
        if item.get_closest_marker(unfit):
            item.add_marker(skip)


@pytest.fixture(scope="session")
async def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """The cluster with the chart installed, once for all scenarios."""
    kind = _kind_of_cluster(request.config)
    folder = tmp_path_factory.mktemp("cluster")
    if kind == "sim":
        environment = {
            "LEASTWISE_LOG_LEVEL": "debug",
            "LEASTWISE_WATCH_TIMEOUT": f"{WATCH_TIMEOUT:g}",
        }
        async with SimulatedCluster.started(folder) as cluster:
            await cluster.install(environment=environment)
            yield cluster
    else:
        image = request.config.getoption("--image", default=None)
        async with RealCluster.started(folder, kind=kind, image=image) as real:
            yield real


@pytest.fixture
async def cluster(installed: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """The cluster, whole again after what the scenario before has done to it."""
    await everything_in_rotation(installed, WORKERS)
    yield installed
    await installed.reset()


@pytest.fixture
def sim(cluster: Cluster) -> SimulatedCluster:
    """The simulated cluster, for scenarios marked sim_only."""
    assert isinstance(cluster, SimulatedCluster)
    return cluster


@pytest.fixture(scope="session")
async def acting_as_one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    """A simulated cluster of its own, with several balancers, and workers that do not refuse."""
    environment = {
        "LEASTWISE_LOG_LEVEL": "debug",
        "LEASTWISE_WATCH_TIMEOUT": f"{WATCH_TIMEOUT:g}",
    }
    async with SimulatedCluster.started(tmp_path_factory.mktemp("replicas")) as cluster:
        await cluster.install(
            balancers=REPLICAS,
            environment=environment,
            pool=UNREFUSED,
            task_seconds=TASK_SECONDS,
            peers=True,
            fronted=True,
            refusing=False,
        )
        yield Replicas(cluster)


@pytest.fixture
async def replicas(acting_as_one: Replicas) -> AsyncIterator[Replicas]:
    """The replicas, whole again after what the scenario before has done to them."""
    await acting_as_one.whole()
    yield acting_as_one
    await acting_as_one.sim.operate("heal")
    await acting_as_one.sim.operate("faults")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what the balancers said, beside a scenario's failure."""
    report: pytest.TestReport = yield
    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    together = funcargs.get("acting_as_one")
    cluster = together.sim if together else funcargs.get("installed") or funcargs.get("cluster")
    if report.failed and isinstance(cluster, SimulatedCluster):
        report.sections.append(("the balancers' logs", cluster.logs()[-20_000:]))
    return report
