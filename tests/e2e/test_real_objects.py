"""What a real cluster is given, as far as it can be checked without one."""

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # comes with kubernetes_validate
import kubernetes_validate
import pytest
import yaml

from tests.e2e import loadgen
from tests.e2e.interface import CAP, POOL, WORKERS
from tests.e2e.kubectl import Kubectl
from tests.e2e.real import BALANCERS, CHART, RealCluster
from tests.e2e.real_host import ROOT, Host
from tests.e2e.real_load import job
from tests.e2e.replicas import REPLICAS, UNREFUSED

HELM = ROOT / ".tools" / "bin" / "helm"


def test_the_load_job_is_valid() -> None:
    load = job("load-1", "leastwise:e2e", ["--target=lb:80"])
    kubernetes_validate.validate(load, kubernetes_validate.latest_version(), strict=True)


def test_the_load_generator_needs_nothing_but_python() -> None:
    tree = ast.parse(Path(loadgen.__file__).read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names <= sys.stdlib_module_names


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host("registry:5000/leastwise:e2e", tmp_path, tmp_path)


def default(host: Host) -> RealCluster:
    return RealCluster(Kubectl("x", None), host)


def acting_as_one(host: Host) -> RealCluster:
    return RealCluster(Kubectl("x", None), host, pool=UNREFUSED, balancers=REPLICAS, refusing=False)


@pytest.mark.parametrize("cluster_of", [default, acting_as_one])
def test_the_chart_takes_the_values(cluster_of: Callable[[Host], RealCluster], host: Host) -> None:
    cluster = cluster_of(host)
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for workers, balancers in ((WORKERS, REPLICAS), (None, None)):
        values = yaml.safe_load(Path(cluster.values(POOL, workers, balancers)).read_text())
        assert values["image"]["repository"] == "registry:5000/leastwise"
        jsonschema.validate(merged(defaults, values), schema)


@pytest.mark.skipif(not HELM.exists(), reason="run `make tools` once")
def test_what_the_chart_makes_of_the_values(host: Host) -> None:
    """As it is by default, and with workers that refuse nothing and a pool that knows it."""
    made = rendered(default(host), POOL, WORKERS, None)
    assert made["Deployment", "lb"]["spec"]["replicas"] == BALANCERS
    assert made["StatefulSet", "worker"]["spec"]["replicas"] == WORKERS
    assert "--max-in-flight=4" in arguments(made["StatefulSet", "worker"])
    assert made["WorkerPool", "lb"]["spec"]["retry"]["refusedStatuses"] == [503]
    made = rendered(acting_as_one(host), UNREFUSED, WORKERS, REPLICAS)
    assert made["Deployment", "lb"]["spec"]["replicas"] == REPLICAS
    assert not [word for word in arguments(made["StatefulSet", "worker"]) if "max-in" in word]
    pool = made["WorkerPool", "lb"]["spec"]
    assert (pool["retry"]["refusedStatuses"], pool["maxInFlight"]) == ([], CAP)
    assert made["Secret", "lb-peers"]["data"]["token"]
    left_out = rendered(acting_as_one(host), POOL, None, None)
    for what in (("Deployment", "lb"), ("StatefulSet", "worker")):
        assert "replicas" not in left_out[what]["spec"]


def rendered(
    cluster: RealCluster, pool: Mapping[str, Any], workers: int | None, balancers: int | None
) -> dict[tuple[str, str], dict[str, Any]]:
    command = [
        str(HELM),
        "template",
        "lb",
        str(CHART),
        "--values",
        cluster.values(pool, workers, balancers),
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = filter(None, yaml.safe_load_all(text))
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def arguments(workload: dict[str, Any]) -> list[str]:
    words: list[str] = workload["spec"]["template"]["spec"]["containers"][0]["args"]
    return words


def merged(defaults: Any, values: Any) -> Any:
    """Lay the values over the defaults, as Helm does."""
    if not (isinstance(defaults, dict) and isinstance(values, dict)):
        return values
    return defaults | {key: merged(defaults.get(key), value) for key, value in values.items()}
