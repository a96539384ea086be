"""A WorkerPool as the Kubernetes API holds it: what it is called, and its spec.

Called by `app.discovery.pools` (the data plane) and `app.operator`. Both judge a spec with the same
code, so that what the operator says of it is what the balancers do with it. Nothing is taken on
trust: the CRD may be older or newer than this process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.config.crd import FILE_ONLY, GROUP, KIND, PLURAL, REQUIRED, VERSION
from app.config.errors import ConfigError, Problem
from app.config.explain import NOTHING, Finding, findings, show
from app.config.workerpool import WorkerPool

__all__ = ["GROUP", "KIND", "PLURAL", "VERSION", "Identity", "identify", "parse_resource"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is, and which state of its spec."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    """A time in RFC 3339, in UTC and to the second: it sorts as a text."""

    @property
    def seniority(self) -> tuple[str, str]:
        """Sorts pools from the one that wins a conflict: the older, then by name."""
        return (self.created, self.name)

    def __str__(self) -> str:
        """Name it for people."""
        return f"{KIND} {self.namespace}/{self.name}"


def identify(obj: Mapping[str, Any]) -> Identity:
    """Read an object's metadata, which the API server has made."""
    metadata = obj["metadata"]
    return Identity(
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        created=metadata.get("creationTimestamp") or "",
    )


def parse_resource(obj: Mapping[str, Any]) -> WorkerPool:
    """Read the object's spec. Raises `ConfigError`, which names each field that is wrong."""
    identity = identify(obj)
    spec = obj.get("spec")
    wrong = _misplaced(spec) if isinstance(spec, Mapping) else []
    if not wrong:
        document = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": identity.name},
            "spec": spec,
        }
        try:
            return WorkerPool.model_validate(document)
        except ValidationError as error:
            wrong = findings(error, WorkerPool)
    raise ConfigError(
        Problem(str(identity), finding.path, finding.found, finding.allowed) for finding in wrong
    )


def _misplaced(spec: Mapping[str, Any]) -> list[Finding]:
    """Find what a file may have, or lack, and a resource may not."""
    found = [
        Finding(("spec", name), show(spec[name]), "nothing: this is for files alone")
        for name in FILE_ONLY
        if spec.get(name) is not None
    ]
    return found + [
        Finding(("spec", name), NOTHING, "the Service whose pods are the workers")
        for name in REQUIRED
        if spec.get(name) is None
    ]
