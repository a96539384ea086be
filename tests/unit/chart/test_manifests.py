"""manifests/: what the chart makes, for those without Helm."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import manifests
from tests.unit.chart.helm import ROOT, Object, render

FOLDER = ROOT / "manifests"


def objects() -> list[Object]:
    return [
        obj
        for path in sorted(FOLDER.iterdir())
        for obj in yaml.safe_load_all(path.read_text())
        if obj
    ]


def test_they_are_what_the_chart_makes() -> None:
    command = [sys.executable, "-m", "scripts.manifests", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert {path.name for path in FOLDER.iterdir()} == manifests.render().keys()


def test_a_drift_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifests, "FOLDER", tmp_path / "manifests")
    assert manifests.main(["--check"]) == 1
    assert "(balancer.yaml, worker.yaml): run `make manifests`" in capsys.readouterr().out
    assert not (tmp_path / "manifests").exists()
    assert manifests.main([]) == 0
    assert manifests.main(["--check"]) == 0
    (tmp_path / "manifests" / "worker.yaml").write_text("changed")
    assert manifests.main(["--check"]) == 1


def test_they_are_all_objects_but_helms_own() -> None:
    def key(obj: Object) -> tuple[str, str]:
        return obj["kind"], obj["metadata"]["name"]

    assert {key(obj) for obj in objects()} == {
        key(obj) for obj in render(manifests.OPTIONS) if "annotations" not in obj["metadata"]
    }
    for path in FOLDER.iterdir():
        assert "helm" not in path.read_text().lower()


def test_one_namespace_everywhere() -> None:
    """So `kubectl apply -n` with another one fails at once, and `sed` finds every place."""
    for obj in objects():
        assert obj["metadata"]["namespace"] == "default"
    for path in FOLDER.iterdir():
        other = path.read_text().replace("namespace: default\n", "namespace: mine\n")
        namespaces = {line.strip() for line in other.splitlines() if "namespace:" in line}
        assert namespaces == {"namespace: mine"}


def test_the_workers_can_be_left_out() -> None:
    assert "kind: StatefulSet" not in (FOLDER / "balancer.yaml").read_text()
    kinds = [obj["kind"] for obj in yaml.safe_load_all((FOLDER / "worker.yaml").read_text()) if obj]
    assert kinds == ["Service", "StatefulSet"]
