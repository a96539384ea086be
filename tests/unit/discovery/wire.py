"""EndpointSlices as the API server writes them."""

from typing import Any

HTTP = ("http", 8080)


def entry(
    pod: str = "",
    *addresses: str,
    ready: bool | None = True,
    serving: bool | None = True,
    terminating: bool | None = None,
    uid: str | None = None,
) -> dict[str, Any]:
    """An endpoint of a slice; without a name, of no pod."""
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    made: dict[str, Any] = {
        "addresses": list(addresses) or ["10.0.0.1"],
        "conditions": {k: v for k, v in conditions.items() if v is not None},
        "nodeName": "node-1",
        "zone": "zone-a",
    }
    if pod:
        made["targetRef"] = {
            "kind": "Pod",
            "namespace": "shop",
            "name": pod,
            "uid": f"uid-{pod}" if uid is None else uid,
        }
    return made


def port(name: str | None, number: int | None, protocol: str | None = "TCP") -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": protocol}


def slice_of(
    name: str,
    *entries: dict[str, Any],
    ports: Any = (HTTP,),
    version: int | str = 1,
    family: str = "IPv4",
    service: str = "worker",
) -> dict[str, Any]:
    """`ports`: pairs of name and number, or as they stand on the wire."""
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "endpoints": list(entries),
        "ports": [port(*one) if isinstance(one, tuple) else one for one in ports or ()],
    }
