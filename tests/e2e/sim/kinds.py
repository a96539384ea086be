"""Which resources the simulated API server has, as it tells clients that look around."""

from dataclasses import dataclass
from typing import Any

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A namespaced resource."""

    group: str
    version: str
    plural: str
    kind: str


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("", "v1", "pods", "Pod"),
        Kind("", "v1", "services", "Service"),
        Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
        Kind("coordination.k8s.io", "v1", "leases", "Lease"),
        Kind("events.k8s.io", "v1", "events", "Event"),
        Kind("leastwise.io", "v1alpha1", "workerpools", "WorkerPool"),
    )
}
_UNSCOPED = (
    Kind("", "v1", "namespaces", "Namespace"),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
)
"""Told of, since kopf waits for them; nothing is there."""


def core_versions() -> dict[str, Any]:
    """Answer `/api`."""
    return {"kind": "APIVersions", "versions": ["v1"]}


def groups() -> dict[str, Any]:
    """Answer `/apis`."""
    named = {kind.group: kind.version for kind in [*KINDS.values(), *_UNSCOPED] if kind.group}
    return {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": group,
                "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
            }
            for group, version in named.items()
        ],
    }


def resources(group: str, version: str) -> dict[str, Any]:
    """Answer `/api/v1` and `/apis/{group}/{version}`."""
    listed = []
    for kind in [*KINDS.values(), *_UNSCOPED]:
        if (kind.group, kind.version) == (group, version):
            entry = {
                "name": kind.plural,
                "singularName": kind.kind.lower(),
                "kind": kind.kind,
                "namespaced": kind not in _UNSCOPED,
                "verbs": _VERBS,
            }
            listed.append(entry)
            if kind.plural == "workerpools":
                listed.append(entry | {"name": "workerpools/status", "verbs": ["get", "patch"]})
    name = f"{group}/{version}".removeprefix("/")
    return {"kind": "APIResourceList", "groupVersion": name, "resources": listed}
