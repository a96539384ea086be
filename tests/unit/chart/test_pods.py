"""What pods may do, and that all that belongs together finds each other, whatever the options."""

from typing import Any, cast

import pytest

from app.admin.api import create_app as create_admin
from app.admin.auth import OPEN
from app.worker.api import create_app as create_worker
from app.worker.settings import WorkerSettings
from tests.unit.chart.helm import (
    ALONE,
    DEFAULT,
    OPTIONS,
    OWN_SERVICE,
    container,
    environment,
    find,
    pod,
    pods,
    render,
)

every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@every_option
def test_restricted(options: tuple[str, ...]) -> None:
    """The Pod Security Standard, and what goes beyond it."""
    for _, spec in pods(options):
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume.keys() - {"name"}}
        assert kinds <= {"configMap", "secret"}
        assert spec["enableServiceLinks"] is False
        for one in spec["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert not any("hostPort" in port for port in one.get("ports", []))
            assert one["resources"]["requests"].keys() == {"cpu", "memory"}
            assert one["resources"]["limits"].keys() == {"memory"}


@every_option
def test_only_the_balancer_has_a_token(options: tuple[str, ...]) -> None:
    for metadata, spec in pods(options):
        component = metadata["labels"]["app.kubernetes.io/component"]
        assert spec["automountServiceAccountToken"] is (component == "balancer")


@every_option
def test_selectors_find_their_pods(options: tuple[str, ...]) -> None:
    labels = {m["labels"]["app.kubernetes.io/component"]: m["labels"] for m, _ in pods(options)}
    for obj in render(options):
        spec = obj.get("spec", {})
        if obj["kind"] in {"Deployment", "StatefulSet"}:
            wanted = spec["selector"]["matchLabels"]
            assert wanted.items() <= spec["template"]["metadata"]["labels"].items()
        elif obj["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            selector = spec.get("selector") or spec["podSelector"]
            wanted = selector.get("matchLabels", selector)
            found = {name for name, has in labels.items() if wanted.items() <= has.items()}
            own = "worker" if obj["metadata"]["name"] in {"worker", "cruncher"} else "balancer"
            assert found == {own}


@every_option
def test_ports_lead_to_ports(options: tuple[str, ...]) -> None:
    names = {
        component: {port["name"]: port["containerPort"] for port in one["ports"]}
        for component in ("balancer", "worker")
        if any(m["labels"]["app.kubernetes.io/component"] == component for m, _ in pods(options))
        for one in [container(component, options)]
    }
    peers = {"peers": 9001} if "LEASTWISE_PEERS" in environment(options) else {}
    assert names["balancer"] == {"http": 8000, "admin": 9000} | peers
    assert names.get("worker", {"http": 8080}) == {"http": 8080}
    for obj in render(options):
        if obj["kind"] == "Service":
            component = obj["spec"]["selector"]["app.kubernetes.io/component"]
            assert all(port["targetPort"] in names[component] for port in obj["spec"]["ports"])
    for component, ports in names.items():
        one = container(component, options)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert one[probe]["httpGet"]["port"] in ports


def test_probes_ask_what_is_served() -> None:
    admin = create_admin(cast(Any, None)).openapi()["paths"]
    worker = create_worker(WorkerSettings()).openapi()["paths"]
    for component, served in (("balancer", admin), ("worker", worker)):
        one = container(component)
        assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert one["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert one["startupProbe"]["httpGet"] == one["livenessProbe"]["httpGet"]
        assert {"/readyz", "/healthz"} <= served.keys()


def test_probes_of_a_worker() -> None:
    probe = container("worker")["readinessProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (1, 2)


@pytest.mark.parametrize("component", ["balancer", "worker"])
def test_a_slow_start_is_no_reason_for_a_restart(component: str) -> None:
    one = container(component)
    startup, liveness = one["startupProbe"], one["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 120
    assert liveness["periodSeconds"] * liveness["failureThreshold"] < 120
    assert startup["periodSeconds"] == 1  # so that it is over soon after the start is


@pytest.mark.parametrize("component", ["balancer", "worker"])
def test_what_hangs_is_not_waited_for(component: str) -> None:
    """Without it the restart of a balancer that hangs would take its whole grace period."""
    for probe in ("startupProbe", "livenessProbe"):
        assert container(component)[probe]["terminationGracePeriodSeconds"] == 10
    assert pod(component)["terminationGracePeriodSeconds"] > 10


def test_the_balancer_rolls_without_a_gap() -> None:
    spec = find("Deployment")["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert "lifecycle" not in container("balancer")  # the one delay is in the process


def test_a_change_of_the_pool_rolls_nothing() -> None:
    before = find("Deployment")
    changed = ("--set=pool.maxInFlight=2,pool.queue.size=1", "--set=pool.timeouts.connect=2s")
    assert find("ConfigMap", changed) != find("ConfigMap")
    assert find("Deployment", changed) == before


def test_the_configmap_is_mounted_as_a_directory() -> None:
    (mount,) = container("balancer", ALONE)["volumeMounts"]
    assert mount == {"name": "pool", "mountPath": "/etc/leastwise", "readOnly": True}  # no subPath
    (volume,) = pod("balancer", ALONE)["volumes"]
    assert volume == {"name": "pool", "configMap": {"name": "lb"}}
    assert find("ConfigMap")["metadata"]["name"] == "lb"
    assert find("ConfigMap")["data"].keys() == {"pool.yaml"}


def test_the_admin_ports_token_is_a_file_and_no_variable() -> None:
    options = OPTIONS["a token for the admin port"]
    balancer = container("balancer", options)
    _, mount, _ = balancer["volumeMounts"]
    _, volume, _ = pod("balancer", options)["volumes"]
    assert volume == {
        "name": "admin-token",
        "secret": {"secretName": "lb-admin", "items": [{"key": "reader", "path": "token"}]},
    }
    assert mount["name"] == volume["name"]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # so that a changed Secret arrives
    assert environment(options)["LEASTWISE_ADMIN_TOKEN_FILE"] == f"{mount['mountPath']}/token"
    probes = [balancer[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["path"] for probe in probes} == OPEN
    assert "LEASTWISE_ADMIN_TOKEN_FILE" not in environment()


def test_prometheus_brings_the_token() -> None:
    (endpoint,) = find("ServiceMonitor", OPTIONS["a token for the admin port"])["spec"]["endpoints"]
    credentials = {"name": "lb-admin", "key": "reader"}
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": credentials}


def test_workers() -> None:
    spec = find("StatefulSet")["spec"]
    assert find("StatefulSet")["metadata"]["name"] == "worker"
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["serviceName"] == "worker"
    service = find("Service", name="worker")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is False


@pytest.mark.parametrize("component", ["balancer", "worker"])
def test_a_pod_can_be_killed_from_inside(component: str) -> None:
    """And is not PID 1, to which a SIGTERM without a handler is nothing."""
    assert pod(component)["shareProcessNamespace"] is True


def test_counts() -> None:
    assert find("Deployment")["spec"]["replicas"] == 2
    assert find("StatefulSet")["spec"]["replicas"] == 5
    for count, options in ((0, OPTIONS["no pods"]), (3, OPTIONS["several"])):
        assert find("Deployment", options)["spec"]["replicas"] == count
    for kind in ("Deployment", "StatefulSet"):
        assert "replicas" not in find(kind, OPTIONS["no count"])["spec"]


def test_without_workers() -> None:
    kinds = {(obj["kind"], obj["metadata"]["name"]) for obj in render(OWN_SERVICE)}
    assert not any(kind == "StatefulSet" or name == "worker" for kind, name in kinds)


@pytest.mark.parametrize("component", ["balancer", "worker", "test"])
def test_image(component: str) -> None:
    assert container(component)["image"] == "leastwise:0.1.0"
    assert container(component)["imagePullPolicy"] == "IfNotPresent"
    options = OPTIONS["image"]
    assert container(component, options)["image"] == "registry.example.org/leastwise:1.2.3"
    assert container(component, options)["imagePullPolicy"] == "Always"
    assert pod(component, options)["imagePullSecrets"] == [{"name": "mine"}]


def test_placement() -> None:
    options = OPTIONS["placement"]
    balancer, worker = pod("balancer", options), pod("worker", options)
    assert balancer["nodeSelector"] == {"disk": "ssd"}
    assert balancer["tolerations"] == [{"operator": "Exists"}]
    assert balancer["priorityClassName"] == "high"
    assert balancer["affinity"] == {"nodeAffinity": {}}
    assert "topologySpreadConstraints" not in balancer
    assert worker["nodeSelector"] == {"gpu": "yes"}
    assert worker["priorityClassName"] == "low"
    for kind, team in (("Deployment", "a"), ("StatefulSet", "c")):
        metadata = find(kind, options)["spec"]["template"]["metadata"]
        assert metadata["labels"]["team"] == team
        assert metadata["annotations"]["note"]
    assert "annotations" not in find("Deployment")["spec"]["template"]["metadata"]


def test_spread() -> None:
    for component in ("balancer", "worker"):
        (constraint,) = pod(component)["topologySpreadConstraints"]
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
        labels = constraint["labelSelector"]["matchLabels"]
        assert labels["app.kubernetes.io/component"] == component
        assert labels["app.kubernetes.io/instance"] == "lb"
        # Of a Deployment, the pods of one rollout among themselves; others have no such label.
        by_rollout = ["pod-template-hash"] if component == "balancer" else None
        assert constraint.get("matchLabelKeys") == by_rollout
    (constraint,) = pod("balancer", OPTIONS["zones"])["topologySpreadConstraints"]
    assert constraint == {
        "topologyKey": "topology.kubernetes.io/zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}},
    }


def test_the_test_is_a_hook() -> None:
    (metadata,) = (m for m, _ in pods(DEFAULT) if m.get("name") == "lb-test")
    assert metadata["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert pod("test")["restartPolicy"] == "Never"
    url = container("test")["command"][3:]
    assert url == ["http://lb:80"]
    assert container("test", OWN_SERVICE)["command"][3:] == ["http://lb:80", "/"]
