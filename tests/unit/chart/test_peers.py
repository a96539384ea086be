"""What replicas need to act as one: a secret that an upgrade keeps, a Service, a mounted file.

An upgrade's look into the cluster is `helm template --is-upgrade --dry-run=server` here: the same
rendering as `helm upgrade` does, with a server that holds what the test wants it to.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.chart.helm import (
    ALONE,
    CHART,
    DEFAULT,
    OPTIONS,
    HelmError,
    Object,
    container,
    environment,
    find,
    helm,
    pod,
    render,
)
from tests.unit.chart.server import Server, serving

SECRET = "/api/v1/namespaces/apps/secrets/lb-peers"
OWN = OPTIONS["peers with a Secret of the user's own"]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[Server]:
    with serving(kubeconfig) as server:
        yield server


def upgraded(kubeconfig: Path, *options: str) -> list[Object]:
    """Render as an upgrade does, in a cluster that can be looked into."""
    command = ("template", "lb", str(CHART), "--namespace=apps", "--is-upgrade", "--skip-crds")
    looking = ("--dry-run=server", "--disable-openapi-validation", f"--kubeconfig={kubeconfig}")
    # Without the cache: it is the cluster that makes the difference.
    text = helm.__wrapped__(*command, *looking, "--set=crd.enabled=false", *options)
    return [obj for obj in yaml.safe_load_all(text) if obj]


def token(objects: list[Object]) -> bytes:
    (secret,) = (obj for obj in objects if obj["kind"] == "Secret")
    assert (secret["metadata"]["name"], secret["data"].keys()) == ("lb-peers", {"token"})
    return base64.b64decode(secret["data"]["token"], validate=True)


def held(data: dict[str, str] | None) -> Object:
    metadata = {"name": "lb-peers", "namespace": "apps"}
    made: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    return made if data is None else made | {"data": data}


def test_the_secret_is_made_at_random(cluster: Server, kubeconfig: Path) -> None:
    first, second = token(upgraded(kubeconfig)), token(upgraded(kubeconfig))
    assert cluster.asked.count(SECRET) == 2
    assert first != second
    for made in (first, second, token(list(render()))):
        assert re.fullmatch(b"[0-9A-Za-z]{40,64}", made)


def test_an_upgrade_keeps_it(cluster: Server, kubeconfig: Path) -> None:
    made = token(upgraded(kubeconfig))
    cluster.objects[SECRET] = held({"token": base64.b64encode(made).decode()})
    assert token(upgraded(kubeconfig)) == made
    assert token(upgraded(kubeconfig, "--set=replicas=3,pool.maxInFlight=2")) == made


@pytest.mark.parametrize("encoded", ["1234567812345678", "0x123456"])
def test_it_is_text_whatever_it_looks_like(cluster: Server, kubeconfig: Path, encoded: str) -> None:
    """Base64 may look like a number, which a Secret does not take."""
    cluster.objects[SECRET] = held({"token": encoded})
    assert token(upgraded(kubeconfig)) == base64.b64decode(encoded)


@pytest.mark.parametrize("data", [None, {}, {"token": ""}, {"other": "QUJD"}])
def test_a_secret_without_a_token_gets_one(
    cluster: Server, kubeconfig: Path, data: dict[str, str] | None
) -> None:
    cluster.objects[SECRET] = held(data)
    assert len(token(upgraded(kubeconfig))) >= 40


def test_a_secret_that_cannot_be_read_is_not_replaced(cluster: Server, kubeconfig: Path) -> None:
    cluster.forbids = SECRET
    with pytest.raises(HelmError, match=r"lookup.*Forbidden"):
        upgraded(kubeconfig)


def test_a_secret_of_the_users_own_is_left_alone(cluster: Server, kubeconfig: Path) -> None:
    assert not [obj for obj in upgraded(kubeconfig, *OWN) if obj["kind"] == "Secret"]
    assert SECRET not in cluster.asked
    (volume,) = (v for v in pod("balancer", OWN)["volumes"] if v["name"] == "peers")
    assert volume["secret"]["secretName"] == "mine"


def test_the_secret_is_a_file_and_no_variable() -> None:
    (mount,) = (m for m in container("balancer")["volumeMounts"] if m["name"] == "peers")
    (volume,) = (v for v in pod("balancer")["volumes"] if v["name"] == "peers")
    items = [{"key": "token", "path": "token"}]
    assert volume == {"name": "peers", "secret": {"secretName": "lb-peers", "items": items}}
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # so that a changed Secret arrives
    assert environment()["LEASTWISE_PEER_SECRET_FILE"] == f"{mount['mountPath']}/token"
    assert find("Secret")["metadata"]["name"] == volume["secret"]["secretName"]
    text = str(find("Deployment"))
    assert find("Secret")["data"]["token"] not in text


def test_a_pod_is_told_what_it_is() -> None:
    told = {v["name"]: v["valueFrom"] for v in container("balancer")["env"] if "valueFrom" in v}
    assert told == {
        name: {"fieldRef": {"fieldPath": path}}
        for name, path in (
            ("LEASTWISE_POD_NAME", "metadata.name"),
            ("LEASTWISE_POD_UID", "metadata.uid"),
            ("LEASTWISE_POD_IP", "status.podIP"),
        )
    }


def test_the_service_has_pods_that_have_not_joined_yet() -> None:
    spec = find("Service", name="lb-peers")["spec"]
    assert spec["publishNotReadyAddresses"] is True
    assert spec["clusterIP"] == "None"
    assert spec["ports"] == [{"name": "peers", "port": 9001, "targetPort": "peers"}]
    assert spec["selector"] == find("Deployment")["spec"]["selector"]["matchLabels"]


def test_the_lease_is_not_of_the_release() -> None:
    assert "Lease" not in {obj["kind"] for obj in render(DEFAULT)}


def test_alone_there_is_none_of_it() -> None:
    assert "peers" not in str(render(ALONE)).lower()
    assert "POD_" not in str(container("balancer", ALONE)["env"])


def test_one_of_two_may_be_evicted() -> None:
    replicas = find("Deployment")["spec"]["replicas"]
    assert 0 < find("PodDisruptionBudget")["spec"]["maxUnavailable"] < replicas
