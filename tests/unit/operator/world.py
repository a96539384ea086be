"""What the judge is shown, written shortly."""

from typing import Any

from app.discovery.source import Object
from app.operator.replicas import Replica, ToldPool, ToldWorker

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def pool(name: str = "p", created: str = "1", generation: int = 1, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}",
                "generation": generation, "creationTimestamp": created}  # fmt: skip
    return {"metadata": metadata, "spec": {"service": {"name": "w", "port": "http"}} | spec}


def service(name: str = "w", *, headless: bool = True, port: str = "http") -> Object:
    spec = {"clusterIP": "None" if headless else "10.0.0.1",
            "ports": [{"name": port, "port": 80, "targetPort": 8080}]}  # fmt: skip
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec}


def admin(balancer: str = "lb") -> Object:
    metadata = {"name": f"{balancer}-admin", "uid": f"uid-{balancer}-admin",
                "labels": {"leastwise.io/balancer": balancer}}  # fmt: skip
    return {"metadata": metadata, "spec": {"clusterIP": "None", "ports": []}}


def slice_of(service: str = "w", *pods: str, port: str = "http", number: int = 8080) -> Object:
    endpoints = [
        {
            "addresses": [f"10.0.0.{i + 1}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"name": pod, "uid": f"uid-{pod}"},
        }
        for i, pod in enumerate(pods)
    ]
    return {
        "metadata": {
            "name": f"{service}-1",
            "uid": f"uid-{service}-1",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": port, "port": number, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def told(
    name: str = "p", generation: int = 1, complaint: str = "", in_flight: int = 0, queued: int = 0,
    **phases: str,
) -> ToldPool:  # fmt: skip
    """A pool as a replica tells it; `w_0="ejected"` is a worker's phase."""
    workers = tuple(
        ToldWorker(
            name=n.replace("_", "-"), phase=phase, in_rotation=phase in {"ready", "refusing"}
        )
        for n, phase in phases.items()
    )
    return ToldPool(name=name, uid=f"uid-{name}", generation=generation, complaint=complaint,
                    in_flight=in_flight, queued=queued, workers=workers)  # fmt: skip


def replica(
    *pools: ToldPool, balancer: str = "lb", address: str = "10.1.0.1:9000", **more: Any
) -> Replica:
    return Replica(balancer, address, more.pop("terminating", False),
                   {each.uid: each for each in pools}, **more)  # fmt: skip
