"""What is asked of kubectl, helm, kind and docker for a real cluster; a shim stands for them.

The flags are held against the real kubectl and helm, which know them without a cluster.
"""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.e2e import shim
from tests.e2e.interface import POOL, WORKERS
from tests.e2e.kubectl import CommandError
from tests.e2e.real import ROOT, RealCluster

TOOLS = ROOT / ".tools" / "bin"
SELECTOR = {"app": "x"}


def pod(name: str) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"restartCount": 1}],
        "podIP": "10.0.0.1",
    }
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": status}


def workload(replicas: int) -> dict[str, Any]:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), replicas)
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 2, **counts},
    }


def service(port: int) -> dict[str, Any]:
    return {"spec": {"selector": SELECTOR, "ipFamilies": ["IPv4"], "ports": [{"port": port}]}}


REQUEST = {"client": 0, "kept": True, "began": 1.0, "seconds": 0.5, "status": 200, "error": ""}
TOLD = {"name": "worker-0", "pid": 7, "peak": 3, "refused": 2}


class Shim:
    """The folder with the programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("kubectl", "helm", "kind", "docker"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -IS\n{Path(shim.__file__).read_text()}")
            program.chmod(0o755)
        (folder / "calls").touch()
        self.fail()
        self.answers = {
            "service worker --output=json": service(8080),
            "service lb --output=json": service(80),
            "pods --selector=app=x --output=json": {
                "items": [pod(f"worker-{n}") for n in range(WORKERS)]
            },
            "statefulset worker --output=json": workload(WORKERS),
            "deployment lb --output=json": workload(WORKERS),  # the pods' answer is one for both
            "endpointslices --selector=kubernetes.io/service-name=worker --output=json": {
                "items": [{"ports": [{"port": 8080}]}]
            },
            "job load-1 --output=json": {"status": {"ready": 1}},
            "pods --selector=batch.kubernetes.io/job-name=load-1 --output=json": {
                "items": [pod("load-1-abc")]
            },
            "workers": {"workers": []},
            "log": [REQUEST, {"worker": TOLD}],
        }
        self.answer()

    def fail(self, *commands: str) -> None:
        """Let calls that begin so fail, and no others."""
        (self.folder / "fail").write_text("\n".join(commands))

    def answer(self, **more: Any) -> None:
        (self.folder / "answers").write_text(json.dumps(self.answers | more))

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def said(self) -> list[str]:
        """The calls in short: paths and namespaces left out."""
        return [
            re.sub(r"--namespace \S+ |leastwise-e2e-[0-9a-f]{6}|(?<=[ =])/\S+/", "", line)
            for line in (" ".join(call["words"]) for call in self.calls())
        ]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Shim(folder)


BEGIN = [
    "kubectl create namespace ",
    "kubectl label namespace  pod-security.kubernetes.io/enforce=restricted",
]
END = "kubectl delete namespace  --timeout=5m"


async def test_a_cluster_of_kind(programs: Shim, tmp_path: Path) -> None:
    async with RealCluster.started(tmp_path, kind="kind", image=None):
        pass
    *before, install, end, away = programs.said()
    assert before == [
        "kind create cluster --name  --config kind.yaml --kubeconfig kubeconfig --wait 3m",
        f"docker build --tag leastwise:e2e {ROOT.name}",
        "kind load docker-image leastwise:e2e --name ",
        *BEGIN,
    ]
    assert re.fullmatch(
        r"helm install lb lb --values values-\w+\.yaml --wait --timeout 5m", install
    )
    assert (end, away) == (END, "kind delete cluster --name  --kubeconfig kubeconfig")
    names = {re.search(r"--name (\S+)", " ".join(c["words"])) for c in programs.calls()} - {None}
    assert len({found[1] for found in names if found}) == 1


async def test_docker_29_takes_the_other_way(programs: Shim, tmp_path: Path) -> None:
    programs.fail("kind load docker-image")
    async with RealCluster.started(tmp_path, kind="kind", image="mine:1"):
        pass
    said = programs.said()
    assert not any(line.startswith("docker build") for line in said)
    at = said.index("kind load docker-image mine:1 --name ")
    assert re.fullmatch(
        r"docker save --platform=linux/(amd64|arm64) --output image\.tar mine:1", said[at + 1]
    )
    assert said[at + 2] == "kind load image-archive image.tar --name "


@pytest.mark.parametrize("broken", ["helm", "docker build", "kind create"])
async def test_nothing_is_left_behind_by_a_failure(
    programs: Shim, tmp_path: Path, broken: str
) -> None:
    programs.fail(broken)
    with pytest.raises(CommandError, match="as the test wants it"):
        async with RealCluster.started(tmp_path, kind="kind", image=None):
            pass
    said = programs.said()
    assert said[-1] == "kind delete cluster --name  --kubeconfig kubeconfig"
    assert (END in said) is (broken == "helm")


async def everything(programs: Shim, folder: Path) -> None:
    """Do all that a scenario may, with a cluster that is there."""
    async with RealCluster.started(folder, kind="current", image="registry:5000/a/mine:1") as real:
        assert len(await real.pods("worker")) == WORKERS
        assert len(await real.views()) == WORKERS
        assert await real.settled()
        await real.delete_worker("worker-0")
        await real.delete_worker("worker-0", force=True)
        await real.kill_container("worker-1")
        await real.fail_readiness("worker-1", fails=True)
        await real.fail_readiness("worker-1", fails=False)
        await real.scale_workers(2)
        await real.restart("lb")
        await real.restart("worker")
        await real.upgrade(POOL)
        await real.change_service(dual_stack=True, publish_not_ready=True)
        await real.change_service(dual_stack=False, publish_not_ready=False)
        await real.reset()
        async with real.load(clients=3) as load:
            (request,) = await load.stop()
            assert request.status == 200
        assert (await real.worst_count(), await real.refusals()) == (3, 2)


async def test_all_that_a_scenario_may_do(programs: Shim, tmp_path: Path) -> None:
    await everything(programs, tmp_path)
    said = [line for line in programs.said() if not line.startswith("kubectl get")]
    assert not any(line.startswith(("kind", "docker")) for line in said)
    code = [call["words"][-1] for call in programs.calls() if call["words"][3:4] == ["exec"]]
    for text in code:
        compile(text, "exec", "exec")
    done = [line for line in said if "exec" not in line and "apply" not in line]
    patch = 'kubectl patch service worker --type=merge --patch={"spec": '
    single = '"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]'
    assert done[len(BEGIN) + 1 : -1] == [
        "kubectl delete pod worker-0 --wait=false",
        "kubectl delete pod worker-0 --wait=false --force --grace-period=0",
        "kubectl scale statefulset/worker --replicas=2",
        "kubectl rollout restart deployment/lb",
        "kubectl rollout restart statefulset/worker",
        next(line for line in done if line.startswith("helm upgrade lb lb --values values-")),
        "kubectl rollout status deployment/lb --timeout=5m",
        f'{patch}{{"publishNotReadyAddresses": true, "ipFamilyPolicy": "PreferDualStack"}}}}',
        f'{patch}{{"publishNotReadyAddresses": false, {single}}}}}',
        "kubectl wait --for=condition=complete job/load-1 --timeout=150s",
        "kubectl logs job/load-1 --tail=-1",
        "kubectl delete job,configmap load-1 --ignore-not-found --wait=false",
    ]
    for call in programs.calls():
        if "apply" in call["words"]:
            kubernetes_validate.validate(json.loads(call["stdin"]), "1.30", strict=True)


async def test_what_a_scenario_left_is_set_back(programs: Shim, tmp_path: Path) -> None:
    left = service(8080)
    left["spec"] |= {"publishNotReadyAddresses": True, "ipFamilies": ["IPv6", "IPv4"]}
    programs.answer(
        **{
            "service worker --output=json": left,
            "statefulset worker --output=json": workload(8),
        }
    )
    async with RealCluster.started(tmp_path, kind="current", image="mine:1") as real:
        before = len(programs.said())
        await real.reset()
    done = [line for line in programs.said()[before:-1] if not line.startswith("kubectl get")]
    scale, patch = done
    assert scale == f"kubectl scale statefulset/worker --replicas={WORKERS}"
    assert json.loads(patch.partition("--patch=")[2])["spec"] == {
        "publishNotReadyAddresses": False,
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv6"],
    }


async def test_a_load_that_failed_is_told(programs: Shim, tmp_path: Path) -> None:
    programs.answer(**{"job load-1 --output=json": {"status": {"failed": 1}}})
    async with RealCluster.started(tmp_path, kind="current", image="mine:1") as real:
        with pytest.raises(AssertionError, match='"status": 200'):
            async with real.load():
                pass
    assert "kubectl delete job,configmap load-1 --ignore-not-found --wait=false" in programs.said()


@cache
def flags(program: str, *words: str) -> frozenset[str]:
    """The flags that the real program knows for this command."""
    texts = [[*words, "--help"]] + ([["options"]] if program == "kubectl" else [])
    found: set[str] = set()
    for arguments in texts:
        done = subprocess.run(
            [TOOLS / program, *arguments], capture_output=True, text=True, check=True
        )
        found |= set(re.findall(r"(--[a-z0-9][-a-z0-9]*)", done.stdout))
    return frozenset(found)


@pytest.mark.skipif(not (TOOLS / "kubectl").exists(), reason="run `make tools` once")
async def test_the_flags_are_real(programs: Shim, tmp_path: Path) -> None:
    await everything(programs, tmp_path)
    checked = 0
    for call in programs.calls():
        program, *words = call["words"]
        if "--" in words:
            words = words[: words.index("--")]
        command = words[2:4] if words[2] == "rollout" else words[2:3]
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        unknown = used - flags(program, *command)
        assert not unknown, f"{program} {' '.join(command)} knows no {unknown}"
        checked += len(used)
    assert checked > 50
    assert shutil.which("kubectl") == str(programs.folder / "kubectl")
