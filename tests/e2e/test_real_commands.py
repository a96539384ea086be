"""What is asked of kubectl, helm, kind and docker for a real cluster; a shim stands for them.

The flags are held against the real kubectl and helm, which know them without a cluster.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import kubernetes_validate
import pytest

from tests.e2e.interface import POOL, WORKERS, Election
from tests.e2e.kubectl import CommandError
from tests.e2e.real import BALANCERS, SIGNAL, RealCluster
from tests.e2e.real_host import ROOT, host
from tests.e2e.shimmed import Shim, service, workload

TOOLS = ROOT / ".tools" / "bin"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Shim(folder)


@asynccontextmanager
async def real_cluster(folder: Path, **how: Any) -> AsyncIterator[RealCluster]:
    """Install the chart as it is by default, on a cluster that is there, or as `how` says."""
    given: dict[str, Any] = {"kind": "current", "image": "registry:5000/a/mine:1"}
    async with host(folder, **given | how) as here, RealCluster.installed(here) as real:
        yield real


BEGIN = [
    "kubectl create namespace ",
    "kubectl label namespace  pod-security.kubernetes.io/enforce=restricted",
]
END = "kubectl delete namespace  --timeout=5m"
CREATE = "kind create cluster --name  --config kind.yaml --kubeconfig kubeconfig --wait 3m"


async def test_a_cluster_of_kind(programs: Shim, tmp_path: Path) -> None:
    async with real_cluster(tmp_path, kind="kind", image=None):
        pass
    *before, install, end, away = programs.said()
    assert before == [
        CREATE,
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
    async with real_cluster(tmp_path, kind="kind", image="mine:1"):
        pass
    said = programs.said()
    assert not any(line.startswith("docker build") for line in said)
    at = said.index("kind load docker-image mine:1 --name ")
    assert re.fullmatch(
        r"docker save --platform=linux/(amd64|arm64) --output image\.tar mine:1", said[at + 1]
    )
    assert said[at + 2] == "kind load image-archive image.tar --name "


LOGS = (
    "kubectl logs --selector=app.kubernetes.io/instance=lb "
    "--all-containers --prefix --ignore-errors --tail=300"
)
LOOKS = [
    "kubectl get pods --output=wide",
    "kubectl get deployments,statefulsets,jobs,services,pdb --output=wide",
    "kubectl get leases --output=yaml",
    "kubectl get workerpools --output=yaml",
    "kubectl get endpointslices --output=yaml",
    "kubectl get events --sort-by=.metadata.creationTimestamp",
    "kubectl describe pods",
    "kubectl describe nodes",
    LOGS,
    f"{LOGS} --previous",
]
"""What is looked at after a failure."""


@pytest.mark.parametrize("broken", ["helm", "docker build", "kind create"])
async def test_nothing_is_left_behind_by_a_failure(
    programs: Shim, tmp_path: Path, broken: str
) -> None:
    programs.fail(broken)
    with pytest.raises(CommandError, match="as the test wants it"):
        async with real_cluster(tmp_path, kind="kind", image=None):
            pass
    said = programs.said()
    assert said[-1] == "kind delete cluster --name  --kubeconfig kubeconfig"
    assert (END in said) is (broken == "helm")


async def test_a_failed_installation_is_looked_at_before_its_end(
    programs: Shim, tmp_path: Path
) -> None:
    programs.fail("helm install", "kubectl get leases")  # what fails then is no other failure
    with pytest.raises(CommandError) as caught:
        async with real_cluster(tmp_path, diagnostics=tmp_path / "told"):
            pass
    said = programs.said()
    assert said[-len(LOOKS) - 1 :] == [*LOOKS, END]
    (folder,) = (tmp_path / "told").iterdir()
    assert len(list(folder.iterdir())) == len(LOOKS)
    assert '"status": 200' in (folder / "logs.txt").read_text()
    (note,) = caught.value.__notes__
    assert str(folder) in note
    assert '"status": 200' in note  # of the logs
    assert "kubectl get leases: as the test wants it" in (folder / "lease.txt").read_text()


async def test_what_is_to_be_kept_is_kept_and_told(programs: Shim, tmp_path: Path) -> None:
    kept: list[str] = []
    async with real_cluster(tmp_path, kind="kind", image="mine:1", keep=True, kept=kept) as real:
        namespace = real.kubectl.namespace
    said = programs.said()
    assert said[0] == f"{CREATE} --retain"
    assert not [line for line in said if "delete" in line]
    name = re.search(r"--name (\S+)", " ".join(programs.calls()[0]["words"]))
    assert name is not None
    told = "\n".join(kept)
    assert f"kind delete cluster --name {name[1]}" in told
    assert f"kubectl delete namespace {namespace}" in told


async def everything(programs: Shim, folder: Path) -> None:
    """Do all that a scenario may, with a cluster that is there."""
    async with real_cluster(folder) as real:
        assert len(await real.pods("worker")) == WORKERS
        assert len(await real.views()) == WORKERS
        assert await real.settled()
        await real.delete_pod("worker-0")
        await real.delete_pod("worker-0", force=True)
        await real.signal("worker-1", SIGKILL)
        await real.signal("lb-1", SIGSTOP)
        await real.fail_readiness("worker-1", fails=True)
        await real.fail_readiness("worker-1", fails=False)
        await real.scale("worker", 2)
        await real.scale("lb", 1)
        await real.restart("lb")
        await real.restart("worker")
        await real.upgrade(POOL)
        await real.change_service(dual_stack=True, publish_not_ready=True)
        await real.change_service(dual_stack=False, publish_not_ready=False)
        await real.reset()
        assert (await real.view("worker-4"))["balancer"] == "worker-4"
        members = (("lb-1", "uid-lb-1"), ("lb-2", "uid-lb-2"))
        assert await real.election() == Election("lb-2", 7, members)
        assert await real.peer_secret() == "c2VjcmV0"
        async with real.load(clients=3) as load, real.load(clients=4, pod="worker-0"):
            (request,) = await load.stop()
            assert request.status == 200
        assert (await real.worst_count(), await real.refusals()) == (4, 2)
        real.diagnose("a-test")


async def test_all_that_a_scenario_may_do(programs: Shim, tmp_path: Path) -> None:
    await everything(programs, tmp_path)
    said = [line for line in programs.said() if not line.startswith("kubectl get")]
    looks = [line for line in LOOKS if not line.startswith("kubectl get")]
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
        "kubectl scale deployment/lb --replicas=1",
        "kubectl rollout restart deployment/lb",
        "kubectl rollout restart statefulset/worker",
        next(line for line in done if line.startswith("helm upgrade lb lb --values values-")),
        "kubectl rollout status deployment/lb --timeout=5m",
        f'{patch}{{"publishNotReadyAddresses": true, "ipFamilyPolicy": "PreferDualStack"}}}}',
        f'{patch}{{"publishNotReadyAddresses": false, {single}}}}}',
        f"kubectl scale deployment/lb --replicas={BALANCERS}",  # there are as many as workers
        "kubectl wait --for=condition=complete job/load-1 --timeout=150s",
        "kubectl logs job/load-1 --tail=-1",
        "kubectl delete job,configmap load-2 --ignore-not-found --wait=false",
        "kubectl delete job,configmap load-1 --ignore-not-found --wait=false",
        *looks,
    ]
    applied = [json.loads(call["stdin"]) for call in programs.calls() if "apply" in call["words"]]
    for obj in applied:
        kubernetes_validate.validate(obj, "1.30", strict=True)
    pods = [obj["spec"]["template"]["spec"] for obj in applied if obj["kind"] == "Job"]
    through_the_service, to_one = [pod["containers"][0]["command"][3:] for pod in pods]
    assert through_the_service == ["--target=lb:80", "--workers=worker:8080", "--clients=3"]
    assert to_one == ["--target=10.0.0.1:8000", "--workers=worker:8080", "--clients=4"]


@pytest.mark.parametrize("number", [SIGKILL, SIGSTOP, SIGCONT])
def test_a_signal_reaches_the_process_of_that_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In a pod whose containers share their processes; the code itself is one of them, too."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sign: sent.append((pid, sign)))
    for pid, words in (
        (1, ["/pause"]),
        (7, ["python", "/opt/leastwise/bin/leastwise", "serve"]),
        (8, ["python", "-c", SIGNAL.format(proc="/proc", role="serve", number=number)]),
        (os.getpid(), ["python", "serve"]),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(b"\0".join(map(str.encode, words)) + b"\0")
    (tmp_path / "9").mkdir()  # it has just ended
    exec(SIGNAL.format(proc=tmp_path, role="serve", number=number))
    assert sent == [(7, number)]
    with pytest.raises(SystemExit, match="no process `worker`"):
        exec(SIGNAL.format(proc=tmp_path, role="worker", number=number))


def test_pid_1_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal from inside its container reaches it."""
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it would be lost"))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cmdline").write_bytes(b"leastwise\0serve\0")
    with pytest.raises(SystemExit, match="shareProcessNamespace"):
        exec(SIGNAL.format(proc=tmp_path, role="serve", number=9))


async def test_a_container_may_end_before_the_answer_to_its_kill(
    programs: Shim, tmp_path: Path
) -> None:
    async with real_cluster(tmp_path) as real:
        programs.fail("kubectl exec")
        with pytest.raises(CommandError):
            await real.signal("lb-1", SIGKILL)  # some other failure
        programs.fail("kubectl exec", code=137)
        await real.signal("lb-1", SIGKILL)
        with pytest.raises(CommandError):
            await real.signal("lb-1", SIGSTOP)
        programs.fail()


async def test_what_a_scenario_left_is_set_back(programs: Shim, tmp_path: Path) -> None:
    left = service(8080)
    left["spec"] |= {"publishNotReadyAddresses": True, "ipFamilies": ["IPv6", "IPv4"]}
    programs.answer(
        **{
            "service worker --output=json": left,
            "statefulset worker --output=json": workload(8),
        }
    )
    async with real_cluster(tmp_path) as real:
        before = len(programs.said())
        await real.reset()
    done = [line for line in programs.said()[before:-1] if not line.startswith("kubectl get")]
    *scaled, patch = done
    assert scaled == [
        f"kubectl scale statefulset/worker --replicas={WORKERS}",
        f"kubectl scale deployment/lb --replicas={BALANCERS}",
    ]
    assert json.loads(patch.partition("--patch=")[2])["spec"] == {
        "publishNotReadyAddresses": False,
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv6"],
    }


async def test_a_load_that_failed_is_told(programs: Shim, tmp_path: Path) -> None:
    programs.answer(**{"job load-1 --output=json": {"status": {"failed": 1}}})
    async with real_cluster(tmp_path) as real:
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
