"""`RealCluster` plays scenarios: on the simulated cluster, with stand-ins for kubectl and helm.

So its way through kubectl is gone once from end to end: what it reads out of kubectl's answers,
what it runs in pods, how its Jobs load and end. The scenarios are those of a real cluster.
"""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import test_replicas
from tests.e2e.real import RealCluster
from tests.e2e.real_host import ROOT, host
from tests.e2e.replicas import REPLICAS, UNREFUSED, Replicas
from tests.e2e.simulated import running_simulator

KUBECTL = ROOT / ".tools" / "bin" / "kubectl"
STAND_IN = Path(__file__).with_name("stand_in.py").read_text()

pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="run `make tools` once")


@pytest.fixture(scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    """Three replicas, and workers that do not refuse."""
    folder, programs = tmp_path_factory.mktemp("played"), tmp_path_factory.mktemp("programs")
    with running_simulator(folder) as told, pytest.MonkeyPatch.context() as patch:
        settings = {"control": told["control"], "folder": str(folder), "kubectl": str(KUBECTL)}
        (programs / "stand-in.json").write_text(json.dumps(settings))
        for name in ("kubectl", "helm"):
            program = programs / name
            program.write_text(f"#!{sys.executable}\n{STAND_IN}")
            program.chmod(0o755)
        patch.setenv("PATH", str(programs))
        async with (
            host(folder, kind="current", image="registry:5000/leastwise:e2e") as here,
            RealCluster.installed(
                here, pool=UNREFUSED, balancers=REPLICAS, refusing=False
            ) as cluster,
        ):
            yield Replicas(cluster)


@pytest.mark.parametrize(
    "scenario",
    [
        test_replicas.test_an_upgrade_changes_the_cap_and_back,
        partial(test_replicas.test_the_arbiter_is_killed, busy=True),
    ],
    ids=["upgrade", "kill"],
)
async def test_a_scenario_goes_through_kubectl(
    played: Replicas, scenario: Callable[[Replicas], Awaitable[None]]
) -> None:
    await played.whole()
    await scenario(played)
    assert await played.cluster.worst_count() > 0  # the workers were asked
