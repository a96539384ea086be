"""The spec of a pool: its defaults, its notations, its schema."""

from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.balancing.policy import (
    HealthPolicy,
    OnClientGone,
    Policy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    TimeoutPolicy,
)
from app.config.addresses import AddressPort
from app.config.explain import allowed_at
from app.config.workerpool import (
    HealthSpec,
    Metadata,
    PoolSpec,
    ProbeSpec,
    QueueSpec,
    RetrySpec,
    RouteSpec,
    ServiceSpec,
    TimeoutsSpec,
    WorkerPool,
)

ENDPOINTS: dict[str, Any] = {"endpoints": ["127.0.0.1:8081"]}


def pool(**spec: Any) -> WorkerPool:
    return WorkerPool.model_validate({"spec": ENDPOINTS | spec})


def test_the_defaults_are_those_of_the_policy() -> None:
    assert pool().policy() == Policy()
    assert pool().name == "default"


def test_the_default_probe_is_the_policys() -> None:
    probe = pool(health={"probe": {"path": "/readyz"}}).policy().health.probe
    assert probe == ProbePolicy(path="/readyz")


def test_every_limit_of_the_policy_is_set_from_the_spec() -> None:
    spec = {
        "endpoints": ["127.0.0.1:8081", "worker.local:8080", "[::1]:80"],
        "maxInFlight": 4,
        "queue": {"size": 0, "timeout": "1m"},
        "timeouts": {
            "connect": "250ms",
            "firstByte": 20,
            "betweenBytes": "none",
            "request": 0.5,
            "idle": "3s",
        },
        "retry": {
            "nonIdempotent": True,
            "onTimeout": True,
            "refusedStatuses": [503, 429],
            "replayBytes": 0,
        },
        "health": {
            "failures": 2,
            "recheck": "50ms",
            "recheckMax": "2s",
            "probe": {"path": "/readyz", "interval": 0.5, "timeout": "200ms", "failures": 4},
        },
        "onClientGone": "finish",
    }
    document = {
        "apiVersion": "leastwise.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "demo.a-1"},
        "spec": spec,
    }
    read = WorkerPool.model_validate(document)
    assert read.name == "demo.a-1"
    assert read.spec.endpoints == (
        AddressPort("127.0.0.1", 8081),
        AddressPort("worker.local", 8080),
        AddressPort("::1", 80),
    )
    assert read.policy() == Policy(
        max_in_flight=4,
        on_client_gone=OnClientGone.FINISH,
        queue=QueuePolicy(0, 60.0),
        timeouts=TimeoutPolicy(0.25, 20.0, None, 0.5, 3.0),
        retry=RetryPolicy(True, True, frozenset({429, 503}), 0),
        health=HealthPolicy(2, 0.05, 2.0, ProbePolicy("/readyz", 0.5, 0.2, 4)),
    )
    # Nothing of Policy was left at its default by oversight.
    for field in fields(Policy):
        assert getattr(read.policy(), field.name) != getattr(Policy(), field.name)


@pytest.mark.parametrize("port", [8080, "http", "grpc-1", "8a"])
def test_a_service_is_named_with_a_port_by_number_or_name(port: int | str) -> None:
    read = WorkerPool.model_validate({"spec": {"service": {"name": "worker", "port": port}}})
    assert read.spec.service is not None
    assert (read.spec.service.name, read.spec.service.port) == ("worker", port)
    assert read.spec.endpoints is None


def test_what_is_read_can_be_written_and_read_again() -> None:
    read = pool(maxInFlight=4, health={"probe": {"path": "/"}}, retry={"refusedStatuses": [503]})
    written = read.model_dump(mode="json", by_alias=True)
    assert written["spec"]["endpoints"] == ["127.0.0.1:8081"]
    assert WorkerPool.model_validate(written) == read


def test_a_pool_is_frozen() -> None:
    with pytest.raises(ValidationError):
        pool().spec.queue.size = 5  # type: ignore[misc]


MODELS: list[type[BaseModel]] = [
    WorkerPool,
    Metadata,
    PoolSpec,
    ServiceSpec,
    RouteSpec,
    QueueSpec,
    TimeoutsSpec,
    RetrySpec,
    HealthSpec,
    ProbeSpec,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_has_a_description_and_words_for_what_it_admits(
    model: type[BaseModel],
) -> None:
    for name, field in model.model_fields.items():
        assert field.description, name
        assert allowed_at(model, (field.alias or name,))


def test_the_schema_can_be_made_for_the_custom_resource() -> None:
    schema = WorkerPool.model_json_schema(by_alias=True)
    assert set(schema["$defs"]) - {"OnClientGone"} == {model.__name__ for model in MODELS[1:]}
    assert set(schema["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    queue = schema["$defs"]["QueueSpec"]["properties"]
    assert queue["timeout"]["default"] == QueuePolicy().timeout
    assert {kind["type"] for kind in queue["timeout"]["anyOf"]} == {"number", "string"}
    assert queue["size"]["description"].startswith("Most requests that wait at once")
    endpoints = schema["$defs"]["PoolSpec"]["properties"]["endpoints"]["anyOf"][0]
    assert (endpoints["type"], endpoints["items"]["type"]) == ("array", "string")
