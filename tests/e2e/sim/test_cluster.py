"""The kubelet and the controllers of the simulated cluster: what happens in which order."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator

import pytest

from tests.e2e.interface import until
from tests.e2e.sim.cluster import Cluster
from tests.e2e.sim.slices import Service
from tests.e2e.sim.store import Change, Store


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    await cluster.start()
    cluster.install({}, workers=2, balancers=0, task_seconds=0.1, environment={})
    try:
        yield cluster
    finally:
        await cluster.stop()


@pytest.fixture
async def cluster(started: Cluster) -> Cluster:
    """A cluster with two workers and no balancer."""
    started.reset(workers=2)
    await settled(started)
    return started


async def settled(cluster: Cluster) -> None:
    async def check() -> bool:
        return all(cluster.state()["settled"].values())

    await until("all pods are ready", check)


def conditions(change: Change, uid: str) -> tuple[bool, bool, bool] | None:
    """Return ready, serving and terminating of the pod in the slice; None if it is not there."""
    for endpoint in change.object["endpoints"]:
        if endpoint["targetRef"]["uid"] == uid:
            said = endpoint["conditions"]
            return said["ready"], said["serving"], said["terminating"]
    return None


class Witness:
    """Writes down what the workers' slice says of one pod, without repetitions."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.uid = cluster.state()["pods"][name]["uid"]
        self.said: list[tuple[bool, bool, bool] | None] = []
        cluster.store.observers.append(self)

    def __call__(self, change: Change) -> None:
        if change.resource == "endpointslices" and change.object["metadata"]["name"][0] == "w":
            said = conditions(change, self.uid)
            if not self.said or self.said[-1] != said:
                self.said.append(said)


async def test_a_pod_that_is_deleted_is_terminating_then_gone_then_new(cluster: Cluster) -> None:
    before = cluster.state()["pods"]["worker-1"]
    witness = Witness(cluster, "worker-1")
    cluster.delete_pod("worker-1")
    assert witness.said == [(False, True, True)]

    async def recreated() -> bool:
        pod = cluster.state()["pods"].get("worker-1")
        return pod is not None and pod["uid"] != before["uid"]

    await until("worker-1 is recreated", recreated)
    await settled(cluster)
    assert witness.said in (
        [(False, True, True), (False, False, True), None],
        [(False, True, True), (False, False, True), (False, True, True), None],
    )


async def test_a_killed_container_keeps_its_pod(cluster: Cluster) -> None:
    before = cluster.state()["pods"]["worker-0"]
    witness = Witness(cluster, "worker-0")
    assert cluster.kill("worker-0")

    async def back() -> bool:
        pod = cluster.state()["pods"]["worker-0"]
        return bool(pod["ready"] and pod["restarts"] == before["restarts"] + 1)

    await until("worker-0 is back", back)
    after = cluster.state()["pods"]["worker-0"]
    assert (after["uid"], after["address"]) == (before["uid"], before["address"])
    assert after["pid"] != before["pid"]
    assert witness.said == [(False, False, False), (True, True, False)]


async def test_a_pod_deleted_with_force_is_gone_at_once(cluster: Cluster) -> None:
    old = cluster.state()["pods"]["worker-0"]
    witness = Witness(cluster, "worker-0")
    cluster.delete_pod("worker-0", force=True)
    os.kill(old["pid"], 0)  # the process outlives its pod
    await settled(cluster)
    assert witness.said == [None]
    assert cluster.state()["pods"]["worker-0"]["uid"] != old["uid"]


async def test_a_readiness_probe_that_fails_and_passes(cluster: Cluster) -> None:
    pid = cluster.state()["pods"]["worker-0"]["pid"]
    witness = Witness(cluster, "worker-0")
    cluster.fail_probe("worker-0", fails=True)

    async def unready() -> bool:
        return witness.said == [(False, False, False)]

    await until("it is out", unready)
    cluster.fail_probe("worker-0", fails=False)
    await settled(cluster)
    assert witness.said == [(False, False, False), (True, True, False)]
    assert cluster.state()["pods"]["worker-0"]["pid"] == pid


async def test_scaling_and_restarting(cluster: Cluster) -> None:
    cluster.scale("worker", 3)
    await settled(cluster)
    uids = {name: pod["uid"] for name, pod in cluster.state()["pods"].items()}
    assert sorted(uids) == ["worker-0", "worker-1", "worker-2"]
    unready: list[int] = []

    def count(_change: Change) -> None:
        pods = cluster.state()["pods"].values()
        unready.append(3 - sum(pod["ready"] and not pod["terminating"] for pod in pods))

    cluster.store.observers.append(count)
    cluster.restart("worker")
    await settled(cluster)
    assert max(unready) == 1
    again = cluster.state()["pods"]
    assert all(again[name]["uid"] != uid for name, uid in uids.items())
    cluster.scale("worker", 1)
    await settled(cluster)
    assert list(cluster.state()["pods"]) == ["worker-0"]


class Member:
    def __init__(self, number: int) -> None:
        self.name = self.uid = f"pod-{number}"
        self.port, self.address, self.address6 = 80, f"10.0.0.{number}", f"fd00::{number}"
        self.ready, self.terminating = True, False


def test_slices_are_filled_kept_and_left() -> None:
    store = Store()
    service = Service(store, "x", "worker", "http")
    service.slice_size = 10
    members = [Member(number) for number in range(25)]
    service.sync(members)

    def sizes() -> list[int]:
        return [len(s["endpoints"]) for s in store.list("endpointslices", "x", {})]

    assert sizes() == [10, 10, 5]
    version = store.version
    members[12].terminating = True
    service.sync(members)
    assert store.version == version + 1  # one slice written, the others left alone
    service.sync(members[10:])
    assert sizes() == [10, 5]
    service.dual_stack = True
    service.sync(members[10:])
    assert sizes() == [10, 5, 10, 5]
    service.dual_stack = False
    service.publish_not_ready = True
    service.sync(members[10:])
    slices = store.list("endpointslices", "x", {})
    assert len(slices) == 2
    found = [e for s in slices for e in s["endpoints"] if e["conditions"]["terminating"]]
    assert json.dumps(found[0]["conditions"]["ready"]) == "true"
    service.slice_size = 4
    service.sync(members[10:])
    assert sorted(sizes()) == [3, 4, 4, 4]
    service.sync([])
    assert sizes() == [0]


async def test_repeated_kills_meet_the_backoff(cluster: Cluster) -> None:
    loop = asyncio.get_running_loop()
    pauses = []
    cluster.delete_pod("worker-0", force=True)  # a new one, which never restarted
    await settled(cluster)
    for restarts in (1, 2):
        cluster.kill("worker-0")
        killed = loop.time()

        async def restarted(restarts: int = restarts) -> bool:
            return bool(cluster.state()["pods"]["worker-0"]["restarts"] == restarts)

        await until("it is restarted", restarted, pause=0.01)
        pauses.append(loop.time() - killed)
        await settled(cluster)
    assert pauses[0] < 0.3 + 0.5 <= pauses[1] + 0.01


async def test_a_container_is_started_again_when_the_test_wants_it(cluster: Cluster) -> None:
    loop = asyncio.get_running_loop()
    cluster.kill("worker-0", restart_after=1.5)
    killed, restarts = loop.time(), cluster.state()["pods"]["worker-0"]["restarts"]

    async def restarted() -> bool:
        return bool(cluster.state()["pods"]["worker-0"]["restarts"] == restarts + 1)

    await until("it is restarted", restarted, pause=0.01)
    assert loop.time() - killed >= 1.5


async def test_a_process_that_is_stopped_goes_on(cluster: Cluster) -> None:
    before = cluster.state()["pods"]["worker-0"]
    assert cluster.kill("worker-0", signal.SIGSTOP)

    async def unready() -> bool:
        return not cluster.state()["pods"]["worker-0"]["ready"]

    await until("its probe fails", unready)
    assert cluster.kill("worker-0", signal.SIGCONT)
    await settled(cluster)
    after = cluster.state()["pods"]["worker-0"]
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
