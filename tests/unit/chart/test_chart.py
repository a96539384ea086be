"""The chart as a whole: lint, versions, and every object against the schemas of Kubernetes."""

import json
import tomllib
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from tests.unit.chart.helm import CHART, DEFAULT, KIND, OPTIONS, ROOT, HelmError, helm, render

VERSIONS = ("1.30", "1.36")
"""The oldest Kubernetes that the chart is for, and the one that it was tried on."""

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", _schema)


_schema = cache(utils.schema_contents)


@cache
def check(text: str, version: str) -> None:
    """Validate an object, unknown fields being errors. Raises ValidationError."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_object_fits_the_api(options: tuple[str, ...]) -> None:
    for obj in render(options):
        # The Prometheus operator's are not of Kubernetes; see test_around and test_monitoring.
        if not obj["apiVersion"].startswith("monitoring.coreos.com/"):
            for version in VERSIONS:
                check(json.dumps(obj, sort_keys=True), version)


def test_the_validation_sees_a_wrong_field() -> None:
    obj: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError, match="'port' was unexpected"):
        check(json.dumps(obj), "1.36")


@pytest.mark.parametrize("options", [DEFAULT, (KIND,), OPTIONS["NetworkPolicy"]])
def test_lint(options: tuple[str, ...]) -> None:
    said = helm("lint", "--strict", str(CHART), *options)
    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


def test_versions_agree() -> None:
    assert METADATA["appVersion"] == VERSION
    (image,) = yaml.safe_load(METADATA["annotations"]["artifacthub.io/images"])
    assert image == {"name": "leastwise", "image": f"leastwise:{VERSION}"}
    for change in yaml.safe_load(METADATA["annotations"]["artifacthub.io/changes"]):
        assert change["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}


def test_the_oldest_kubernetes() -> None:
    helm("template", "lb", str(CHART), "--kube-version=1.30.0")
    helm("template", "lb", str(CHART), "--kube-version=1.30.0-gke.100")
    with pytest.raises(HelmError, match=r"requires kubeVersion: >=1\.30\.0-0"):
        helm("template", "lb", str(CHART), "--kube-version=1.29.9")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_object_is_named_placed_and_labelled(options: tuple[str, ...]) -> None:
    seen = set()
    for obj in render(options):
        metadata = obj["metadata"]
        assert (obj["kind"], metadata["name"]) not in seen
        seen.add((obj["kind"], metadata["name"]))
        assert metadata["namespace"] == "apps"
        assert len(metadata["name"]) <= 63
        labels = metadata["labels"]
        assert labels["app.kubernetes.io/instance"] == "lb"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"] == f"lb-{METADATA['version']}"


@pytest.mark.parametrize(
    ("release", "options", "name"),
    [
        ("lb", DEFAULT, "lb"),
        ("lb2", DEFAULT, "lb2"),
        ("demo", DEFAULT, "demo-lb"),
        ("demo", OPTIONS["names"], "demo-balance"),
        ("demo", OPTIONS["the whole name"], "front"),
        ("x" * 53, DEFAULT, "x" * 50),
    ],
)
def test_names_follow_the_release(release: str, options: tuple[str, ...], name: str) -> None:
    names = {obj["metadata"]["name"] for obj in render(options, release)}
    assert names == {name, f"{name}-admin", f"{name}-peers", f"{name}-test", "worker"}


def test_two_releases_in_one_namespace() -> None:
    def objects(options: tuple[str, ...], release: str) -> set[tuple[str, str]]:
        return {(obj["kind"], obj["metadata"]["name"]) for obj in render(options, release)}

    first, second = objects(DEFAULT, "lb"), objects(("--set=worker.name=worker2",), "lb2")
    assert not first & second
    assert first & objects(DEFAULT, "lb2") == {("Service", "worker"), ("StatefulSet", "worker")}
    sharing = ("--set=worker.enabled=false,pool.serviceName=worker",)
    assert not first & objects(sharing, "lb2")


def test_a_release_selects_none_of_anothers_pods() -> None:
    def labels(release: str) -> list[dict[str, str]]:
        return [
            obj["spec"]["template"]["metadata"]["labels"]
            for obj in render(DEFAULT, release)
            if "template" in obj.get("spec", {})
        ]

    for obj in render(DEFAULT, "lb2"):
        selector = obj.get("spec", {}).get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert not any(wanted.items() <= found.items() for found in labels("lb"))
            assert any(wanted.items() <= found.items() for found in labels("lb2"))
