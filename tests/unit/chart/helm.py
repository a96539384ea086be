"""Runs the real helm, and finds things in what it renders. What is returned is shared: read it."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "lb"
HELM = ROOT / ".tools" / "bin" / "helm"
KIND = f"--values={CHART}/values-kind.yaml"

DEFAULT: tuple[str, ...] = ()
WORKER_POOLS = "--set=crd.enabled=true"
"""The chart's own default. Most tests are about pods, and render the pool as a file, in which each
option's pool can be read by the file's own reader; `test_workerpools` holds, for each option, that
the WorkerPool says the same, and that all objects are valid with it."""
ALONE = ("--set=replicas=1,peers.enabled=false",)
OWN_SERVICE = ("--set=worker.enabled=false,pool.serviceName=model",)

OPTIONS: dict[str, tuple[str, ...]] = {
    "as it comes": DEFAULT,
    "kind": (KIND,),
    "a Service of the user's own": OWN_SERVICE,
    "its port by number": (*OWN_SERVICE, "--set=pool.servicePort=9090"),
    "own Service beside the chart's workers": ("--set=pool.serviceName=model",),
    "the workers, named": ("--set=pool.serviceName=worker",),
    "no count": ("--set=replicas=null,worker.replicas=null",),
    "no pods": ("--set=replicas=0,worker.replicas=0",),
    "several": ("--set=replicas=3,worker.replicas=50",),
    "one": ("--set=replicas=1",),
    "several, each for itself": ("--set=replicas=3,peers.enabled=false",),
    "peers with a Secret of the user's own": ("--set=peers.secretName=mine",),
    "other workers": ("--set=worker.name=cruncher,worker.taskSeconds=0.5,worker.maxInFlight=9",),
    "no cap": ("--set=worker.maxInFlight=null",),
    "another cap": ("--set=pool.maxInFlight=2",),
    "no limits": (
        "--set=pool.timeouts.firstByte=null,pool.timeouts.betweenBytes=null",
        "--set=pool.timeouts.request=null,drain.timeout=1h",
    ),
    "a probe": (
        "--set=pool.health.probe.path=/readyz,pool.health.probe.interval=500ms",
        "--set=pool.health.probe.timeout=200ms,pool.health.probe.failures=2",
    ),
    "no preStop": ("--set=worker.drainSeconds=0",),
    "other times": (
        "--set=drain.delay=1500ms,pool.queue.timeout=1m30s,pool.timeouts.request=2h",
        "--set=pool.timeouts.idle=10s,worker.taskSeconds=100,worker.drainSeconds=20",
    ),
    "numbers as durations": (
        "--set=drain.delay=2.5,pool.queue.timeout=3,pool.timeouts.request=4",
        "--set-json=drain.timeout=0.5",
    ),
    "all pool fields": (
        "--set=pool.queue.size=0,pool.timeouts.connect=2s,pool.retry.nonIdempotent=false",
        "--set=pool.retry.onTimeout=true,pool.retry.refusedStatuses={429,503}",
        "--set=pool.retry.replayBytes=16777216,pool.health.failures=1,pool.health.recheck=50ms",
        "--set=pool.health.recheckMax=2s,pool.onClientGone=finish",
    ),
    "all settings": (
        "--set=settings.clientHeaderTimeout=5s,settings.clientBodyTimeout=20s",
        "--set=settings.clientIdleTimeout=75,settings.maxHeaderBytes=1048576",
        "--set=settings.maxBodyBytes=10000000000,settings.maxConnections=1000000",
        "--set=settings.trustedNetworks={10.0.0.0/8,fd00::/8},settings.logLevel=debug",
        "--set=settings.logFormat=json,settings.watchTimeout=2m,settings.preferredFamily=ipv6",
        "--set=settings.accessLog=true,settings.accessLogRate=5,settings.accessLogQuery=false",
        "--set=settings.metrics=false,settings.timingHeaders=false",
    ),
    "IPv6": ("--set-string=listenHost=::",),
    "NodePort of any number": ("--set=service.type=NodePort",),
    "LoadBalancer": (
        "--set=service.type=LoadBalancer,service.port=8080,service.nodePort=31000",
        "--set=service.annotations.a/b=c",
    ),
    "names": ("--set=nameOverride=balance",),
    "the whole name": ("--set=fullnameOverride=front",),
    "image": (
        "--set=image.repository=registry.example.org/leastwise,image.tag=1.2.3",
        "--set=image.pullPolicy=Always,imagePullSecrets[0].name=mine",
    ),
    "placement": (
        "--set=nodeSelector.disk=ssd,tolerations[0].operator=Exists,priorityClassName=high",
        "--set=podLabels.team=a,podAnnotations.note=b,topologySpreadConstraints=null",
        "--set=worker.nodeSelector.gpu=yes,worker.tolerations[0].key=gpu,worker.podLabels.team=c",
        "--set=worker.priorityClassName=low,worker.podAnnotations.note=d",
        '--set-json=affinity={"nodeAffinity":{}}',
        '--set-json=worker.affinity={"podAffinity":{}}',
    ),
    "zones": (
        "--set=topologySpreadConstraints[0].topologyKey=topology.kubernetes.io/zone",
        "--set=topologySpreadConstraints[0].maxSkew=1",
        "--set=topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "--set=topologySpreadConstraints[0].labelSelector.matchLabels.a=b",
    ),
    "no disruption budget": ("--set=podDisruptionBudget.enabled=false",),
    "a share as disruption budget": ("--set=podDisruptionBudget.maxUnavailable=50%",),
    "account of another": (
        "--set=serviceAccount.create=false,serviceAccount.name=other,rbac.create=false",
    ),
    "account with a name": ("--set=serviceAccount.name=mine,serviceAccount.annotations.a=b",),
    "ServiceMonitor": (
        "--set=serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus",
        "--set=serviceMonitor.interval=15s,serviceMonitor.scrapeTimeout=5s",
    ),
    "alerts": ("--set=prometheusRule.enabled=true,prometheusRule.labels.release=prometheus",),
    "Grafana dashboard": (
        "--set=grafanaDashboard.enabled=true,grafanaDashboard.annotations.folder=Serving",
    ),
    "a token for the admin port": (
        "--set=admin.tokenSecret.name=lb-admin,admin.tokenSecret.key=reader",
        "--set=serviceMonitor.enabled=true",
    ),
    "NetworkPolicy": ("--set=networkPolicy.enabled=true",),
    "NetworkPolicy of one that is alone": (
        "--set=networkPolicy.enabled=true,replicas=1,peers.enabled=false",
    ),
    "NetworkPolicy without Prometheus": (
        "--set=networkPolicy.enabled=true,networkPolicy.adminFrom=null",
    ),
}
"""Each documented option, alone or with what it matters with."""


DOWNWARD = {
    "metadata.name": "lb-5d9c8b7f4-x7k2p",
    "metadata.uid": "5f3b7b8a-0000-4000-8000-000000000000",
    "status.podIP": "10.0.0.7",
}
"""What a pod may be told of itself."""


class HelmError(Exception):
    """helm failed; the text is what it said."""


@cache
def helm(*arguments: str) -> str:
    """Run it, away from any cluster; return its stdout. Raises `HelmError`."""
    assert HELM.exists(), "run `make tools` once"
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    done = subprocess.run(
        [HELM, *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise HelmError(done.stderr + done.stdout)
    return done.stdout


@cache
def render(options: Sequence[str] = DEFAULT, release: str = "lb") -> tuple[Object, ...]:
    """Return the objects of a release in namespace `apps`, the hooks too."""
    command = ("template", release, str(CHART), "--namespace=apps", "--set=crd.enabled=false")
    text = helm(*command, *options)
    return tuple(filter(None, yaml.load_all(text, Loader=yaml.CSafeLoader)))  # 5 times as quick


def find(kind: str, options: Sequence[str] = DEFAULT, name: str = "") -> Object:
    """Return the one object of this kind (and name)."""
    found = [
        obj
        for obj in render(options)
        if obj["kind"] == kind and name in {"", obj["metadata"]["name"]}
    ]
    assert len(found) == 1, f"{len(found)} of kind {kind} {name}"
    return found[0]


def pool_file(options: Sequence[str] = DEFAULT) -> Object:
    """Return the ConfigMap that holds the pool's file."""
    maps = (obj for obj in render(options) if obj["kind"] == "ConfigMap")
    (found,) = (obj for obj in maps if "pool.yaml" in obj["data"])
    return found


def pods(options: Sequence[str] = DEFAULT) -> Iterator[tuple[Object, Object]]:
    """Yield metadata and spec of each pod that the objects make."""
    for obj in render(options):
        if obj["kind"] == "Pod":
            yield obj["metadata"], obj["spec"]
        elif "template" in obj.get("spec", {}):
            yield obj["spec"]["template"]["metadata"], obj["spec"]["template"]["spec"]


def pod(component: str, options: Sequence[str] = DEFAULT) -> Object:
    """Return the spec of the balancer's, a worker's or the test's pod."""
    (spec,) = (
        spec
        for metadata, spec in pods(options)
        if metadata["labels"]["app.kubernetes.io/component"] == component
    )
    return spec


def container(component: str, options: Sequence[str] = DEFAULT) -> Object:
    """Return its one container."""
    (found,) = pod(component, options)["containers"]
    return dict(found)


def environment(options: Sequence[str] = DEFAULT) -> dict[str, str]:
    """Return the balancer's variables, as the kubelet fills them in."""
    return {
        variable["name"]: variable["value"]
        if "value" in variable
        else DOWNWARD[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container("balancer", options)["env"]
    }


@cache
def values() -> Object:
    """Return values.yaml."""
    content: Object = yaml.safe_load((CHART / "values.yaml").read_text())
    return content
