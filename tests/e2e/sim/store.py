"""The objects of the simulated cluster, with versions, as etcd and the watch cache keep them.

One counter of versions for all resources, as in Kubernetes. Every change is kept for as long as
the window holds it, so that a watch can begin in the past; one that would begin before the window
is `Gone`. Objects are never changed in place: what was handed out stays as it was.
"""

import copy
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


class Gone(Exception):  # noqa: N818 - as HTTP calls it
    """The version asked for is no longer in the window."""


class Conflict(Exception):  # noqa: N818 - as HTTP calls it
    """The object has changed since it was read, or is there already."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch: `kind` is ADDED, MODIFIED or DELETED."""

    version: int
    resource: str
    kind: str
    object: Object


def matches(obj: Object, namespace: str | None, labels: Mapping[str, str]) -> bool:
    """Whether a list or watch with this namespace and these labels has the object."""
    metadata = obj["metadata"]
    if namespace is not None and metadata["namespace"] != namespace:
        return False
    own = metadata.get("labels") or {}
    return all(own.get(key) == value for key, value in labels.items())


class Store:
    """All objects, by resource ("pods"), namespace and name. `window` is in changes."""

    def __init__(self, window: int = 5000) -> None:
        self._versions = itertools.count(1001)
        self.version = 1000
        self._window: deque[Change] = deque(maxlen=window)
        self._oldest = self.version
        self._objects: dict[tuple[str, str, str], Object] = {}
        self.observers: list[Callable[[Change], None]] = []

    # --- reading

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self._objects.get((resource, namespace, name)))

    def list(self, resource: str, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        """Return the objects in the order of their keys, as the API server does."""
        return [
            self._objects[key]
            for key in sorted(self._objects)
            if key[0] == resource and matches(self._objects[key], namespace, labels)
        ]

    def since(self, version: int) -> Iterator[Change]:
        """Return what happened after `version`. Raises `Gone`."""
        if version < self._oldest:
            raise Gone(f"too old resource version: {version} ({self._oldest})")
        return iter([change for change in self._window if change.version > version])

    # --- writing

    def create(self, resource: str, obj: Object) -> Object:
        """Add an object; its version, UID and time of creation are given here."""
        metadata = obj["metadata"]
        key = (resource, metadata["namespace"], metadata["name"])
        if key in self._objects:
            raise Conflict(f"{resource} {metadata['name']} already exists")
        obj = copy.deepcopy(obj)
        obj["metadata"].setdefault("uid", str(uuid.uuid4()))
        obj["metadata"]["creationTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return self._write(key, "ADDED", obj)

    def update(self, resource: str, obj: Object) -> Object:
        """Replace an object; no event if nothing differs. Raises `Conflict`, or `KeyError`."""
        metadata = obj["metadata"]
        key = (resource, metadata["namespace"], metadata["name"])
        before = self._objects[key]
        told = metadata.get("resourceVersion")
        if told is not None and told != before["metadata"]["resourceVersion"]:
            raise Conflict(f"{resource} {metadata['name']} has been modified")
        obj = copy.deepcopy(obj)
        for field in ("resourceVersion", "uid", "creationTimestamp"):
            obj["metadata"][field] = before["metadata"][field]
        return before if obj == before else self._write(key, "MODIFIED", obj)

    def delete(self, resource: str, namespace: str, name: str) -> Object:
        """Remove an object. Raises `KeyError`."""
        key = (resource, namespace, name)
        return self._write(key, "DELETED", copy.deepcopy(self._objects[key]))

    def compact(self) -> None:
        """Forget the past: a watch that would begin before now is `Gone`."""
        self.version = next(self._versions)
        self._window.clear()
        self._oldest = self.version

    def _write(self, key: tuple[str, str, str], kind: str, obj: Object) -> Object:
        self.version = next(self._versions)
        obj["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = obj
        change = Change(self.version, key[0], kind, obj)
        if len(self._window) == self._window.maxlen:
            self._oldest = self._window[0].version
        self._window.append(change)
        for observer in self.observers:
            observer(change)
        return obj
