"""The cluster that the scenarios run on: `--cluster=sim|kind|current`.

`kind` creates a cluster and deletes it, with the image built from this tree; `current` is whatever
KUBECONFIG points at, in namespaces of its own, with `--image`, which the nodes have or can pull.
Without the option: `current` if KUBECONFIG and `--image` are given, else `kind` if it and Docker
are installed, else `sim`.

After a failure on a real cluster, what is to be read of it is in the report and, in full, in the
folder that `--diagnostics` names. `--keep` leaves there what was made.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.choosing import choose_cluster
from tests.e2e.diagnosis import folder_of
from tests.e2e.interface import WORKERS, Cluster
from tests.e2e.real import BALANCERS, RealCluster
from tests.e2e.real_host import Host, host
from tests.e2e.replicas import REPLICAS, TASK_SECONDS, UNREFUSED, Replicas
from tests.e2e.scenario import everything_in_rotation
from tests.e2e.simulated import WATCH_TIMEOUT, SimulatedCluster

_KEPT = pytest.StashKey[list[str]]()
_ENVIRONMENT = {
    "LEASTWISE_LOG_LEVEL": "debug",
    "LEASTWISE_WATCH_TIMEOUT": f"{WATCH_TIMEOUT:g}",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("leastwise")
    group.addoption("--cluster", choices=["sim", "kind", "current"], help="where e2e tests run")
    group.addoption("--image", help="the image for --cluster=current, as repository:tag")
    group.addoption("--diagnostics", type=Path, help="folder for what a failure leaves to be read")
    group.addoption("--keep", action="store_true", help="leave the real cluster or namespaces")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sim_only: needs faults that a real cluster cannot be given")
    config.addinivalue_line("markers", "real_only: needs what is not simulated")
    config.stash[_KEPT] = []


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
async def real_host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Host | None]:
    """The real cluster, once for all scenarios; None for the simulated one."""
    config = request.config
    kind = _kind_of_cluster(config)
    if kind == "sim":
        yield None
        return
    async with host(
        tmp_path_factory.mktemp("host"),
        kind=kind,
        image=config.getoption("--image", default=None),
        diagnostics=config.getoption("--diagnostics", default=None),
        keep=config.getoption("--keep", default=False),
        kept=config.stash[_KEPT],
    ) as real:
        yield real


@asynccontextmanager
async def _simulated(folder: Path, **installed: Any) -> AsyncIterator[SimulatedCluster]:
    async with SimulatedCluster.started(folder) as cluster:
        await cluster.install(environment=_ENVIRONMENT, **installed)
        yield cluster


@pytest.fixture(scope="session")
async def installed(
    real_host: Host | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """A cluster with the chart as it is by default: two balancers that act as one."""
    opened: AbstractAsyncContextManager[Cluster]
    if real_host is None:
        folder = tmp_path_factory.mktemp("cluster")
        opened = _simulated(folder, balancers=BALANCERS, peers=True)
    else:
        opened = RealCluster.installed(real_host)
    async with opened as cluster:
        yield cluster


@pytest.fixture
async def cluster(installed: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, whole again after what the scenario before has done to it."""
    await everything_in_rotation(installed, WORKERS)
    yield installed
    await installed.reset()


@pytest.fixture
def sim(cluster: Cluster) -> SimulatedCluster:
    """The simulated cluster, for scenarios marked sim_only."""
    assert isinstance(cluster, SimulatedCluster)
    return cluster


@pytest.fixture(scope="module")
async def one_balancer(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[SimulatedCluster]:
    """A simulated cluster with one balancer, which has no peers."""
    async with _simulated(tmp_path_factory.mktemp("one")) as cluster:
        yield cluster


@pytest.fixture
async def alone(one_balancer: SimulatedCluster) -> AsyncIterator[SimulatedCluster]:
    """That cluster, whole again after what the scenario before has done to it."""
    await everything_in_rotation(one_balancer, WORKERS)
    yield one_balancer
    await one_balancer.reset()


@pytest.fixture(scope="session")
async def acting_as_one(
    real_host: Host | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    """A cluster or namespace with more balancers, and workers that do not refuse."""
    opened: AbstractAsyncContextManager[Cluster]
    if real_host is None:
        opened = _simulated(
            tmp_path_factory.mktemp("replicas"),
            balancers=REPLICAS,
            pool=UNREFUSED,
            task_seconds=TASK_SECONDS,
            peers=True,
            fronted=True,
            refusing=False,
        )
    else:
        opened = RealCluster.installed(
            real_host, pool=UNREFUSED, balancers=REPLICAS, refusing=False
        )
    async with opened as cluster:
        yield Replicas(cluster)


@pytest.fixture
async def replicas(acting_as_one: Replicas) -> AsyncIterator[Replicas]:
    """The replicas, whole again after what the scenario before has done to them."""
    await acting_as_one.whole()
    yield acting_as_one
    await acting_as_one.cluster.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show beside a scenario's failure what the balancers said, and how a real cluster is."""
    report: pytest.TestReport = yield
    if report.failed:
        for cluster in _clusters(item):
            if isinstance(cluster, SimulatedCluster):
                report.sections.append(("the balancers' logs", cluster.logs()[-20_000:]))
            else:
                told = cluster.diagnose(folder_of(f"{item.name}-{report.when}"))
                report.sections.append((f"namespace {cluster.kubectl.namespace}", told))
    if call.excinfo is not None:
        # A session's fixture that failed is raised for each test: its notes are long, and told now.
        notes: list[str] = getattr(call.excinfo.value, "__notes__", [])
        notes[:] = [note.partition("\n")[0] for note in notes]
    return report


def _clusters(item: pytest.Item) -> list[SimulatedCluster | RealCluster]:
    """Return the clusters that a test was given, each once."""
    given: dict[str, Any] = getattr(item, "funcargs", {})
    found = [each.cluster if isinstance(each, Replicas) else each for each in given.values()]
    kinds = (SimulatedCluster, RealCluster)
    return list(dict.fromkeys(each for each in found if isinstance(each, kinds)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what `--keep` has left."""
    for line in config.stash[_KEPT]:
        terminalreporter.write_line(line)
