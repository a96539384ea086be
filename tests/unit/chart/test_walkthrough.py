"""kind-config.yaml, skaffold.yaml and docs/kubernetes.md against the chart that they are about."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.chart.helm import CHART, KIND, ROOT, find, helm, render, values

DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if kind == "sh"
    for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()
]


README = (ROOT / "README.md").read_text()


def at(path: str) -> Any:
    found: Any = values()
    for name in path.split("."):
        found = found[name]
    return found


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_kind_maps_the_charts_port() -> None:
    config = load("kind-config.yaml")
    assert config["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    nodes = [node["role"] for node in config["nodes"]]
    assert nodes == ["control-plane", "worker", "worker"]
    (mapping,) = config["nodes"][0]["extraPortMappings"]
    (port,) = find("Service", (KIND,), "lb")["spec"]["ports"]
    assert mapping["containerPort"] == port["nodePort"]
    assert mapping["listenAddress"] == "127.0.0.1"
    assert f"http://localhost:{mapping['hostPort']}/compute" in DOCUMENT


def test_skaffold() -> None:
    config = load("skaffold.yaml")
    assert config["apiVersion"] == "skaffold/v4beta14"
    (artifact,) = config["build"]["artifacts"]
    assert artifact["image"] == values()["image"]["repository"]
    assert (ROOT / artifact["docker"]["dockerfile"]).exists()
    (release,) = config["deploy"]["helm"]["releases"]
    assert ROOT / release["chartPath"] == CHART
    assert [ROOT / name for name in release["valuesFiles"]] == [CHART / "values-kind.yaml"]
    for path, template in release["setValueTemplates"].items():
        at(path)
        assert re.fullmatch(r"\{\{\.IMAGE_(REPO|TAG)_leastwise\}\}", template)
    for forward in config["portForward"]:
        service = find("Service", name=forward["resourceName"])
        assert forward["port"] == service["spec"]["ports"][0]["port"]
    # Not the one that kind-config.yaml takes.
    assert [forward["localPort"] for forward in config["portForward"]] == [8000, 9000]


def test_the_oldest_skaffold_is_named() -> None:
    assert "Skaffold 2.19 or later" in DOCUMENT
    assert "Skaffold 2.19 or later" in (ROOT / "skaffold.yaml").read_text()


@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if re.match("helm (install|upgrade) ", line)]
)
def test_the_documents_helm_commands(command: str, tmp_path: Path) -> None:
    (own,) = (block for kind, block in BLOCKS if kind == "yaml")
    (tmp_path / "my-values.yaml").write_text(own)
    _, _, release, chart, *options = shlex.split(command)
    options = [
        option.replace("charts/lb", str(CHART)).replace(
            "my-values.yaml", f"{tmp_path}/my-values.yaml"
        )
        for option in options
        if option not in {"--wait", "--reuse-values"}  # template knows no release
    ]
    assert chart == "charts/lb"
    helm("template", release, str(CHART), *options)


def test_the_readme_has_the_same_walkthrough() -> None:
    on_kubernetes = README.split("\nOn [kind]")[1]  # before it, the balancer runs without
    blocks = re.findall(r"^```sh\n(.*?)^```$", on_kubernetes, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert [line for line in lines if line.startswith("helm")] == [
        "helm install lb charts/lb -f charts/lb/values-kind.yaml --wait",
        "helm test lb",
    ]
    (task,) = (line for line in lines if line.startswith("curl"))
    assert task.endswith(" http://localhost:8080/compute")
    others = [line for line in lines if line != task]
    assert len(others) == 8
    assert [line for line in COMMANDS if line in others] == others  # in this order


def test_the_pages_select_the_balancers_pods() -> None:
    """`kubectl ... -l` of the pages finds them, and neither workers nor the operator."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    selectors = set(re.findall(r"-l (app\.kubernetes\.io/[^ `]+)", runbook + DOCUMENT))
    assert len(selectors) == 2
    for selector in selectors:
        wanted = dict(label.split("=") for label in selector.split(","))
        found = [
            item["metadata"]["name"]
            for item in render()
            if item["kind"] in {"Deployment", "StatefulSet"}
            and wanted.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert found == ["lb"], selector


def test_there_are_such_commands() -> None:
    assert sum(line.startswith("helm install") for line in COMMANDS) == 5
    assert sum(line.startswith("helm upgrade") for line in COMMANDS) == 2


def test_the_document_names_what_is_there() -> None:
    image = f"leastwise:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"
    assert f"docker build -t {image} ." in COMMANDS
    assert f"kind load docker-image {image}" in COMMANDS
    assert set(re.findall(r"leastwise:[0-9.]+[0-9]", DOCUMENT)) == {image}
    for path in re.findall(r"(?:charts/lb|manifests)[\w/.-]*", " ".join(COMMANDS)):
        assert (ROOT / path).exists()


def test_the_table_names_values_and_their_defaults() -> None:
    section = DOCUMENT.split("## What the choices cost")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 10
    for names, *_ in rows:
        first, *more = re.findall(r"`([\w.]+)`", names)
        for name in (first, *more):
            at(first.rpartition(".")[0] + name if name.startswith(".") else name)
    said = {row[0]: row[1] for row in rows}
    assert said["`replicas`"] == str(at("replicas"))
    assert said["`drain.delay`"] == at("drain.delay")
    assert said["`podDisruptionBudget.maxUnavailable`"] == "1"
