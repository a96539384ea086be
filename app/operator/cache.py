"""The objects that the operator knows of, as kopf tells them; one namespace.

Filled by `watching`, read by `operating`. kopf does not tell what vanished while its watch was
broken; so `keep_only` is called with a list from time to time. What the cache has heard of since
that list was begun, it keeps.
"""

from collections.abc import Iterable

from app.discovery.source import Object

POOLS, SERVICES, SLICES = "workerpools", "services", "endpointslices"


class Cache:
    """Objects by resource and UID."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, tuple[int, Object]]] = {
            POOLS: {},
            SERVICES: {},
            SLICES: {},
        }
        self.heard = 0
        """How many events there have been."""

    def of(self, resource: str) -> list[Object]:
        """Return the objects of one resource, by name."""
        objects = (obj for _, obj in self._objects[resource].values())
        return sorted(objects, key=lambda obj: str(obj["metadata"]["name"]))

    def put(self, resource: str, obj: Object) -> None:
        """Take in an object as it is now."""
        self.heard += 1
        self._objects[resource][obj["metadata"]["uid"]] = (self.heard, obj)

    def remove(self, resource: str, uid: str) -> None:
        """Forget an object."""
        self.heard += 1
        self._objects[resource].pop(uid, None)

    def keep_only(self, resource: str, uids: Iterable[str], before: int) -> None:
        """Forget what a list did not have; `before` is what `heard` was when it was begun."""
        there = set(uids)
        self._objects[resource] = {
            uid: (heard, obj)
            for uid, (heard, obj) in self._objects[resource].items()
            if uid in there or heard > before
        }
