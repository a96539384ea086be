"""The chart as it comes: pools are WorkerPools, an operator writes their status."""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.config.crd import NAME, custom_resource_definition
from app.config.loading import parse_pool
from app.config.operator_settings import load_operator_settings
from app.config.resource import parse_resource
from app.config.settings import load_settings
from app.config.workerpool import PoolSpec
from app.operator.replicas import ADMIN_PORT, LABEL
from app.operator.watching import RESOURCES
from tests.e2e.sim.custom import CustomResource
from tests.unit.chart.helm import (
    CHART,
    OPTIONS,
    WORKER_POOLS,
    HelmError,
    container,
    environment,
    find,
    helm,
    pod,
    render,
)

DEFAULT = (WORKER_POOLS,)
RESOURCE = CustomResource(custom_resource_definition())
UPGRADE = (WORKER_POOLS, "--set=crd.upgrade=true")
TWO = (
    WORKER_POOLS,
    (
        '--set-json=pools={"small": {"service": {"name": "small", "port": "http"},'
        ' "maxInFlight": 9, "routes": [{"pathPrefix": "/v1"}]}}'
    ),
)

every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def pool(options: tuple[str, ...] = DEFAULT, name: str = "") -> PoolSpec:
    """The WorkerPool, as the API server stores it and the balancer reads it."""
    stored, wrong = RESOURCE.admit(find("WorkerPool", options, name), strict=True)
    assert wrong == []
    return parse_resource(stored).spec


def test_it_is_the_default() -> None:
    assert yaml.safe_load((CHART / "values.yaml").read_text())["crd"]["enabled"] is True


@every_option
def test_the_workerpool_says_what_the_file_says(options: tuple[str, ...]) -> None:
    [config] = [
        obj for obj in render(options) if obj["kind"] == "ConfigMap" and "pool.yaml" in obj["data"]
    ]
    of_file = parse_pool(config["data"]["pool.yaml"].encode(), "pool.yaml").spec
    of_resource = pool((*options, WORKER_POOLS))
    name = find("WorkerPool", (*options, WORKER_POOLS))["metadata"]["name"]
    assert of_resource == of_file.model_copy(update={"balancer": name})


@every_option
def test_every_object_of_ours_fits_the_api(options: tuple[str, ...]) -> None:
    for obj in render((*options, *UPGRADE)):
        if obj["apiVersion"].partition("/")[0] not in {"monitoring.coreos.com", "leastwise.io"}:
            kubernetes_validate.validate(json.loads(json.dumps(obj)), "1.36", strict=True)


@every_option
def test_no_file_is_left(options: tuple[str, ...]) -> None:
    spec = pod("balancer", (*options, WORKER_POOLS))
    assert not any("configMap" in volume for volume in spec.get("volumes", ()))
    assert "LEASTWISE_CONFIG" not in environment((*options, WORKER_POOLS))


def test_balancer_and_operator_call_themselves_what_the_pool_calls_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = (*OPTIONS["the whole name"], WORKER_POOLS)
    for name, value in environment(options).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for name in environment(options):
        monkeypatch.delenv(name)
    for variable in container("operator", options)["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    operator = load_operator_settings()
    assert settings.balancer == operator.balancer == pool(options).balancer == "front"
    admin = find("Service", options, "front-admin")
    assert admin["metadata"]["labels"][LABEL] == "front"
    assert [port["name"] for port in admin["spec"]["ports"]] == [ADMIN_PORT]
    assert container("operator", options)["args"] == ["operator"]
    assert (
        operator.liveness_listen.port == container("operator", options)["ports"][0]["containerPort"]
    )


def test_the_operator_brings_the_admin_ports_token() -> None:
    options = (WORKER_POOLS, "--set=admin.tokenSecret.name=mine,peers.enabled=false")
    for component in ("balancer", "operator"):
        mounted = container(component, options)
        [mount] = mounted["volumeMounts"]
        [volume] = pod(component, options)["volumes"]
        variables = {each["name"]: each.get("value") for each in mounted["env"]}
        assert variables["LEASTWISE_ADMIN_TOKEN_FILE"] == f"{mount['mountPath']}/token"
        assert volume["name"] == mount["name"]
        assert volume["secret"]["secretName"] == "mine"


def test_further_pools() -> None:
    small = pool(TWO, "small")
    assert (small.balancer, small.max_in_flight) == ("lb", 9)
    assert [str(route) for route in small.routes] == ["*/v1"]
    assert pool(TWO, "lb").service is not None


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ('pools={"lb": {"service": {"name": "w", "port": 1}}}', "choose another name"),
        ('pools={"Big": {"service": {"name": "w", "port": 1}}}', "does not match pattern"),
        ('pools={"big": {}}', "service"),
    ],
)
def test_pools_that_cannot_be(option: str, says: str) -> None:
    with pytest.raises(HelmError, match=says):
        render((WORKER_POOLS, f"--set-json={option}"))


def test_a_file_has_one_pool() -> None:
    with pytest.raises(HelmError, match="leave `pools` empty"):
        render((*TWO, "--set=crd.enabled=false"))


# --- rights

WHY: dict[str, dict[tuple[str, str], dict[str, str]]] = {
    "lb": {
        ("discovery.k8s.io", "endpointslices"): {
            "list": "all workers of a pool's Service, at the start and after a gap",
            "watch": "workers that come, go or change",
        },
        ("leastwise.io", "workerpools"): {
            "list": "all pools, at the start and after a gap",
            "watch": "pools that are made, changed and deleted",
        },
        ("coordination.k8s.io", "leases"): {
            "create": "the Lease by which replicas find each other, by the first of them",
            "get": "who the replicas are, and which of them decides",
            "update": "to join and to leave, to decide, and to go on deciding",
        },
        ("", "pods"): {"get": "whether a replica that is silent is still there"},
    },
    "lb-operator": {
        ("leastwise.io", "workerpools"): {
            "list": "all pools, at the start and once a minute",
            "watch": "pools that are made, changed and deleted",
        },
        ("leastwise.io", "workerpools/status"): {"patch": "to say what became of a pool"},
        ("", "services"): {
            "list": "whether a pool's Service is there, headless, and has the port",
            "watch": "the same, as it changes; which balancers there are",
        },
        ("discovery.k8s.io", "endpointslices"): {
            "list": "the workers of each pool, and the balancers' pods",
            "watch": "the same, as they change",
        },
        ("events.k8s.io", "events"): {
            "create": "an Event of an ejection, a return, a bad spec, a missing Service",
            "patch": "the count of one that happens again",
        },
    },
}
"""Each verb of each Role, and what it is for. There is no other."""


@pytest.mark.parametrize("role", WHY)
def test_each_verb_is_needed_and_no_other_is_given(role: str) -> None:
    rules = find("Role", DEFAULT, role)["rules"]
    given: dict[tuple[str, str], list[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                given.setdefault((group, resource), []).extend(rule["verbs"])
        # Of what is named, no more than is needed: one Lease, once it is there.
        named = rule["resources"] == ["leases"] and rule["verbs"] != ["create"]
        assert rule.get("resourceNames", []) == (["lb"] if named else [])
    assert {where: sorted(verbs) for where, verbs in given.items()} == {
        where: sorted(verbs) for where, verbs in WHY[role].items()
    }


def test_the_operator_watches_what_it_may() -> None:
    watched = {(group, plural) for group, _, plural in RESOURCES}
    assert watched == {where for where, verbs in WHY["lb-operator"].items() if "watch" in verbs}


def test_nothing_is_for_the_whole_cluster_unless_asked_for() -> None:
    assert not any(obj["kind"].startswith("Cluster") for obj in render(DEFAULT))


def test_one_operator_at_a_time_with_a_liveness_probe() -> None:
    spec = find("Deployment", DEFAULT, "lb-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert container("operator", DEFAULT)["livenessProbe"]["httpGet"] == {
        "path": "/healthz",
        "port": "liveness",
    }
    assert pod("operator", DEFAULT)["serviceAccountName"] == "lb-operator"


@pytest.mark.parametrize(
    "options", [("--set=operator.enabled=false",), ("--set=crd.enabled=false",)]
)
def test_without_an_operator(options: tuple[str, ...]) -> None:
    names = {obj["metadata"]["name"] for obj in render((WORKER_POOLS, *options))}
    assert not any("operator" in name for name in names)


# --- the CRD


def test_the_crd_is_in_crds_and_in_no_template() -> None:
    assert [path.name for path in (CHART / "crds").iterdir()] == ["workerpools.yaml"]
    for options in (DEFAULT, UPGRADE):
        assert not any(obj["kind"] == "CustomResourceDefinition" for obj in render(options))
    text = helm("template", "lb", str(CHART), "--include-crds")
    kinds = [obj["kind"] for obj in yaml.safe_load_all(text) if obj]
    assert kinds.count("CustomResourceDefinition") == 1


def hooks() -> dict[str, dict[str, Any]]:
    found = {}
    for obj in render(UPGRADE):
        if "helm.sh/hook" in obj["metadata"].get("annotations", {}) and obj["kind"] != "Pod":
            found[obj["kind"]] = obj
    return found


def test_the_job_that_upgrades_the_crd_may_do_just_that() -> None:
    found = hooks()
    assert found.keys() == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"}
    assert found["ClusterRole"]["rules"] == [
        {
            "apiGroups": ["apiextensions.k8s.io"],
            "resources": ["customresourcedefinitions"],
            "resourceNames": [NAME],
            "verbs": ["patch"],  # server-side apply of what is there: the install has made it
        }
    ]
    spec = found["Job"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"] == ["crd", "--apply"]
    account = found["ServiceAccount"]["metadata"]["name"]
    assert spec["serviceAccountName"] == account
    assert found["ClusterRoleBinding"]["subjects"][0]["name"] == account
    weights = {
        k: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for k, o in found.items()
    }
    assert weights.pop("Job") > max(weights.values())
    for obj in found.values():
        annotations = obj["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-upgrade"  # the install does it by itself
        assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]


def test_the_job_is_opt_in() -> None:
    assert not any(obj["kind"] == "Job" for obj in render(DEFAULT))


def test_notes_say_how_to_see_the_pool_and_to_upgrade_the_crd() -> None:
    command = ("install", "lb", str(CHART), "--dry-run=client", "--namespace=apps")
    said = helm(*command)
    assert "kubectl apply --server-side --force-conflicts -f charts/lb/crds/" in said
    assert "kubectl --namespace apps get wp" in said
    assert "--force-conflicts" not in helm(*command, "--set=crd.upgrade=true")
    assert "get wp" not in helm(*command, "--set=crd.enabled=false")
