"""What stands around the pods: Services, rights, disruption budget, monitoring, network."""

import pytest

from tests.unit.chart.helm import ALONE, KIND, OPTIONS, find, pod, render


def test_rights_are_exactly_these() -> None:
    slices = {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["list", "watch"],
    }
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    role = find("Role")
    assert role["rules"] == [
        slices,
        leases | {"verbs": ["create"]},
        leases | {"resourceNames": ["lb"], "verbs": ["get", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]
    assert find("Role", ALONE)["rules"] == [slices]
    binding = find("RoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "lb", "namespace": "apps"}]
    assert find("ServiceAccount")["metadata"]["name"] == "lb"
    assert pod("balancer")["serviceAccountName"] == "lb"
    assert "serviceAccountName" not in pod("worker")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_is_for_the_whole_cluster(options: tuple[str, ...]) -> None:
    assert not any(obj["kind"].startswith("Cluster") for obj in render(options))


def test_account_of_another() -> None:
    options = OPTIONS["account of another"]
    kinds = {obj["kind"] for obj in render(options)}
    assert not kinds & {"ServiceAccount", "Role", "RoleBinding"}
    assert pod("balancer", options)["serviceAccountName"] == "other"


def test_account_with_a_name() -> None:
    options = OPTIONS["account with a name"]
    assert find("ServiceAccount", options)["metadata"]["name"] == "mine"
    assert find("ServiceAccount", options)["metadata"]["annotations"] == {"a": "b"}
    assert find("RoleBinding", options)["subjects"][0]["name"] == "mine"
    assert pod("balancer", options)["serviceAccountName"] == "mine"


def test_data_port() -> None:
    spec = find("Service", name="lb")["spec"]
    assert spec["type"] == "ClusterIP"
    (port,) = spec["ports"]
    assert port == {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}


def test_node_port() -> None:
    spec = find("Service", (KIND,), "lb")["spec"]
    assert spec["type"] == "NodePort"
    assert spec["ports"][0]["nodePort"] == 30080
    options = OPTIONS["NodePort of any number"]
    assert "nodePort" not in find("Service", options, "lb")["spec"]["ports"][0]
    kept = (KIND, "--set=service.type=ClusterIP")
    assert "nodePort" not in find("Service", kept, "lb")["spec"]["ports"][0]


def test_load_balancer() -> None:
    service = find("Service", OPTIONS["LoadBalancer"], "lb")
    assert service["metadata"]["annotations"] == {"a/b": "c"}
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["ports"][0]["port"] == 8080
    assert service["spec"]["ports"][0]["nodePort"] == 31000


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_admin_and_the_peer_port_stay_inside(options: tuple[str, ...]) -> None:
    for obj in render(options):
        if obj["kind"] == "Service":
            ports = {port["targetPort"] for port in obj["spec"]["ports"]}
            for inside in ("admin", "peers"):
                assert (inside in ports) is obj["metadata"]["name"].endswith(f"-{inside}")
                if inside in ports:
                    assert ports == {inside}
                    assert obj["spec"]["clusterIP"] == "None"
                    assert obj["spec"]["publishNotReadyAddresses"] is True
                    assert "type" not in obj["spec"]


def test_disruption_budget() -> None:
    spec = find("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    share = find("PodDisruptionBudget", OPTIONS["a share as disruption budget"])["spec"]
    assert share["maxUnavailable"] == "50%"
    kinds = {obj["kind"] for obj in render(OPTIONS["no disruption budget"])}
    assert "PodDisruptionBudget" not in kinds


def test_options_that_are_off() -> None:
    assert not {"ServiceMonitor", "NetworkPolicy"} & {obj["kind"] for obj in render()}


def test_service_monitor() -> None:
    options = OPTIONS["ServiceMonitor"]
    monitor = find("ServiceMonitor", options)
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    spec = monitor["spec"]
    assert spec["endpoints"] == [
        {"port": "admin", "path": "/metrics", "interval": "15s", "scrapeTimeout": "5s"}
    ]
    service = find("Service", options, "lb-admin")
    wanted = spec["selector"]["matchLabels"].items()
    assert spec.keys() == {"endpoints", "selector"}
    assert wanted <= service["metadata"]["labels"].items()
    assert not wanted <= find("Service", options, "lb")["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["name"] == "admin"


def test_network_policy() -> None:
    spec = find("NetworkPolicy", OPTIONS["NetworkPolicy"])["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    data, admin, peers = spec["ingress"]
    assert data == {"ports": [{"port": "http"}]}
    assert admin["ports"] == [{"port": "admin"}]
    operator, prometheus = admin["from"]
    labels = operator["podSelector"]["matchLabels"]
    assert operator.keys() == {"podSelector"}
    assert labels["app.kubernetes.io/component"] == "operator"
    assert labels["app.kubernetes.io/instance"] == "lb"
    assert prometheus == {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    without = find("NetworkPolicy", OPTIONS["NetworkPolicy without Prometheus"])["spec"]
    assert without["ingress"][1]["from"] == [operator]
    assert peers == {
        "ports": [{"port": "peers"}],
        "from": [{"podSelector": find("Deployment")["spec"]["selector"]}],
    }
    alone = find("NetworkPolicy", OPTIONS["NetworkPolicy of one that is alone"])["spec"]
    assert alone["ingress"] == [data, admin]
