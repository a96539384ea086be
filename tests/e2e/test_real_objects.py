"""What a real cluster is given, as far as it can be checked without one."""

import ast
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # comes with kubernetes_validate
import kubernetes_validate
import yaml

from tests.e2e import loadgen
from tests.e2e.interface import POOL, WORKERS
from tests.e2e.kubectl import Kubectl
from tests.e2e.real import CHART, RealCluster
from tests.e2e.real_load import job


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


def test_the_chart_takes_the_values(tmp_path: Path) -> None:
    cluster = RealCluster(Kubectl("x", None), "registry:5000/leastwise:e2e", tmp_path)
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for workers in (WORKERS, None):
        values = yaml.safe_load(Path(cluster._values(POOL, workers)).read_text())
        assert values["image"]["repository"] == "registry:5000/leastwise"
        jsonschema.validate(merged(defaults, values), schema)


def merged(defaults: Any, values: Any) -> Any:
    """Lay the values over the defaults, as Helm does."""
    if not (isinstance(defaults, dict) and isinstance(values, dict)):
        return values
    return defaults | {key: merged(defaults.get(key), value) for key, value in values.items()}
