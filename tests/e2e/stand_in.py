"""Stands for kubectl and helm on the simulated cluster, so far as `real` asks for them.

Put into a folder of the PATH under both names, with `stand-in.json` beside it: the control port,
the simulator's folder, and the real kubectl. That one is asked for what the simulated API server
has (pods, Services, Leases); what it has not, a workload's counts, Jobs and `exec`, is made here.
What is executed in a pod runs on this machine, and sees no process but the pod's.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SETTINGS = json.loads((HERE / "stand-in.json").read_text())
SIMULATOR = Path(SETTINGS["folder"])
LATENCY = 0.1

_LOAD = """
import runpy, socket, sys
from pathlib import Path
resolve = socket.getaddrinfo
def by_name(host, port, *more, **options):
    if host != "worker":
        return resolve(host, port, *more, **options)
    found = Path({addresses!r}).read_text().split()
    return [entry for each in found for entry in resolve(each, port, *more, **options)]
socket.getaddrinfo = by_name
sys.argv = {arguments!r}
runpy.run_path(sys.argv[0], run_name="__main__")
Path({done!r}).touch()
"""
"""The load, where the workers' headless Service is a name, and its end is to be seen."""


def control(operation: str, **arguments: Any) -> Any:
    """Do one of the simulator's operations."""
    request = urllib.request.Request(
        f"{SETTINGS['control']}/{operation}",
        json.dumps(arguments).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> int:
    """Do what is asked; return the exit code."""
    _, _, command, *words = sys.argv[1:]  # --namespace and its name first
    if Path(sys.argv[0]).name == "helm":
        return helm(command, words)
    doing = {
        "get": get, "exec": execute, "apply": apply, "logs": logs, "wait": wait,
        "delete": delete, "scale": scale, "rollout": rollout,
    }  # fmt: skip
    return doing[command](words) if command in doing else 0


# --- helm


def helm(command: str, words: list[str]) -> int:
    """Install or upgrade, and wait until all is ready."""
    import yaml

    values = yaml.safe_load(Path(words[words.index("--values") + 1]).read_text())
    pool = {"service": {"name": "worker", "port": "http"}} | values["pool"]
    if command == "install":
        worker = values["worker"]
        control(
            "install",
            pool=pool,
            workers=worker["replicas"],
            balancers=values.get("replicas", 2),
            task_seconds=0.4,
            environment={"LEASTWISE_LOG_LEVEL": "debug", "LEASTWISE_WATCH_TIMEOUT": "2"},
            peers=True,
            refusing=worker.get("maxInFlight", 4) is not None,
        )
    else:
        control("upgrade", pool=pool, environment={})
    while not all(control("state")["settled"].values()):
        time.sleep(LATENCY)
    return 0


# --- kubectl get


def get(words: list[str]) -> int:
    """Print an object, or a List."""
    what, *more = words
    if what in {"statefulset", "deployment"}:
        print(json.dumps(workload(more[0])))
    elif what == "job":
        print(json.dumps({"status": {"ready": 1}}))
    elif what == "secret":
        token = (SIMULATOR / "peer-secret").read_text()
        print(json.dumps({"data": {"token": token}}))
    elif "job-name" in more[0]:
        name = more[0].rpartition("=")[2]
        print(json.dumps({"items": [{"metadata": {"name": f"{name}-pod"}}]}))
    else:
        command = [SETTINGS["kubectl"], "--namespace", "leastwise", "get", *words]
        environment = os.environ | {"KUBECONFIG": str(SIMULATOR / "kubeconfig")}
        return subprocess.run(command, env=environment, check=False).returncode
    return 0


def workload(name: str) -> dict[str, Any]:
    """Return what the API says of a StatefulSet or a Deployment."""
    state = control("state")
    wanted, settled = state["replicas"][name], state["settled"][name]
    counts = ("replicas", "updatedReplicas", "readyReplicas")
    return {
        "metadata": {"generation": 1},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 1} | dict.fromkeys(counts, wanted if settled else -1),
    }


# --- what is done


def execute(words: list[str]) -> int:
    """Run Python as in the pod: its own address, its own processes."""
    pod, code = words[0], words[-1]
    if pod.startswith("load-"):
        pid = int((HERE / f"{pod.removesuffix('-pod')}.pid").read_text())
        code = code.replace("os.kill(1,", f"os.kill({pid},")
        return subprocess.run([sys.executable, "-c", code], check=False).returncode
    known = control("state")["pods"][pod]
    admin = int((SIMULATOR / "targets").read_text().split()[0].rpartition(":")[2]) + 1
    with tempfile.TemporaryDirectory() as proc:
        if known["pid"] is not None:
            (Path(proc) / str(known["pid"])).symlink_to(f"/proc/{known['pid']}")
        code = code.replace("127.0.0.1:9000", f"{known['address']}:{admin}")
        code = code.replace('"/proc"', repr(proc))
        return subprocess.run([sys.executable, "-c", code], check=False).returncode


def scale(words: list[str]) -> int:
    """Let there be so many."""
    control("scale", name=words[0].partition("/")[2], replicas=int(words[1].partition("=")[2]))
    return 0


def rollout(words: list[str]) -> int:
    """Begin a rolling restart; there is nothing to wait for otherwise."""
    if words[0] == "restart":
        control("restart", name=words[1].partition("/")[2])
    return 0


def delete(words: list[str]) -> int:
    """Delete a pod, or a load."""
    if words[0] == "pod":
        control("delete_pod", name=words[1], force="--force" in words)
    elif words[0] == "job,configmap":
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(int((HERE / f"{words[1]}.pid").read_text()), signal.SIGKILL)
    return 0


# --- the load


def apply(_words: list[str]) -> int:
    """Keep what a ConfigMap brings; run a Job."""
    obj = json.load(sys.stdin)
    name = obj["metadata"]["name"]
    if obj["kind"] == "ConfigMap":
        (HERE / f"{name}.py").write_text(obj["data"]["loadgen.py"])
        return 0
    words = obj["spec"]["template"]["spec"]["containers"][0]["command"]
    arguments = [str(HERE / f"{name}.py"), *(_where(word) for word in words[3:])]
    pods = control("state")["pods"].values()
    addresses = HERE / f"{name}.workers"
    addresses.write_text("\n".join(pod["address"] for pod in pods if pod["role"] == "worker"))
    done = str(HERE / f"{name}.done")
    code = _LOAD.format(addresses=str(addresses), arguments=arguments, done=done)
    with (HERE / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    (HERE / f"{name}.pid").write_text(str(process.pid))
    return 0


def _where(word: str) -> str:
    """Send to a Service's name where the simulated kube-proxy says."""
    return f"--targets={SIMULATOR / 'targets'}" if word.startswith("--target=lb:") else word


def logs(words: list[str]) -> int:
    """Print what a load has told."""
    print((HERE / f"{words[0].partition('/')[2]}.log").read_text(), end="")
    return 0


def wait(words: list[str]) -> int:
    """Wait for a load's end."""
    while not (HERE / f"{words[1].partition('/')[2]}.done").exists():
        time.sleep(LATENCY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
