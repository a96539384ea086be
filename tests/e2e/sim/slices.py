"""The EndpointSlice controller's part: the slices of a Service, as its pods change.

A member keeps its place; new ones go where there is room; only slices that changed are written.
One set of slices for each address family and port. The last slice of a family stays, empty.
"""

import itertools
from collections.abc import Iterable
from typing import Protocol

from tests.e2e.sim.store import Object, Store

NODE, ZONE = "sim-node", "sim-zone"


class Member(Protocol):
    """What a slice says of a pod."""

    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def port(self) -> int: ...

    address: str
    address6: str
    ready: bool
    terminating: bool


class Service:
    """One headless Service; its fields may be changed between two calls of `sync`."""

    def __init__(
        self, store: Store, namespace: str, name: str, port_name: str, offset: int = 0
    ) -> None:
        self.name = name
        self.labels: dict[str, str] = {}
        """The Service's own, which its slices have, too."""

        self._offset = offset  # of its port from the members' data port
        self.slice_size = 100
        self.dual_stack = False
        self.publish_not_ready = False
        self._store, self._namespace, self._port_name = store, namespace, port_name
        self._numbers = itertools.count(1)
        self._slices: dict[str, tuple[str, int, list[str]]] = {}  # family, port, UIDs
        self._left: list[str] = []
        """The slices that the pods are leaving."""

    def sync(self, members: Iterable[Member]) -> None:
        """Bring the slices in line with the members."""
        wanted = {member.uid: member for member in members}
        families = ["IPv4", "IPv6"] if self.dual_stack else ["IPv4"]
        for name, (family, _, uids) in list(self._slices.items()):
            uids[:] = [uid for uid in uids if uid in wanted and family in families]
            del uids[self.slice_size :]  # if slices are to be smaller than they were
            if not uids and self._spare(name, families):
                del self._slices[name]
                self._store.delete("endpointslices", self._namespace, name)
        for family in families:
            placed = {u for f, _, uids in self._slices.values() if f == family for u in uids}
            for uid, member in wanted.items():
                if uid not in placed:
                    self._place(family, member)
        for name in self._slices:
            self._write(name, wanted)

    def begin_move(self, members: Iterable[Member]) -> None:
        """Let every pod stand in a second slice, too, as it does while it is moved there."""
        self._left = list(self._slices)
        for name in self._left:
            family, port, uids = self._slices[name]
            self._slices[self._new_name()] = (family, port, list(uids))
        self.sync(members)

    def end_move(self) -> None:
        """Take the slices away that have been left."""
        for name in self._left:
            if self._slices.pop(name, None):
                self._store.delete("endpointslices", self._namespace, name)
        self._left = []

    # --- inside

    def _new_name(self) -> str:
        return f"{self.name}-{next(self._numbers):05x}"

    def _spare(self, name: str, families: list[str]) -> bool:
        family, port, _ = self._slices[name]
        others = sum((f, p) == (family, port) for f, p, _ in self._slices.values()) - 1
        return others > 0 or family not in families

    def _place(self, family: str, member: Member) -> None:
        wanted = (family, member.port + self._offset)
        for name, (of, port, uids) in self._slices.items():
            fits = (of, port) == wanted and len(uids) < self.slice_size
            if fits and name not in self._left:
                uids.append(member.uid)
                return
        self._slices[self._new_name()] = (*wanted, [member.uid])

    def _write(self, name: str, members: dict[str, Member]) -> None:
        family, port, uids = self._slices[name]
        metadata = {
            "name": name,
            "namespace": self._namespace,
            "labels": {
                **self.labels,
                "kubernetes.io/service-name": self.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "service.kubernetes.io/headless": "",
            },
        }
        wanted: Object = {
            "metadata": metadata,
            "addressType": family,
            "endpoints": [self._endpoint(members[uid], family) for uid in uids],
            "ports": [{"name": self._port_name, "port": port, "protocol": "TCP"}],
        }
        before = self._store.get("endpointslices", self._namespace, name)
        if before is None:
            self._store.create("endpointslices", wanted)
        elif before["endpoints"] != wanted["endpoints"]:
            self._store.update("endpointslices", wanted)

    def _endpoint(self, member: Member, family: str) -> Object:
        ready = self.publish_not_ready or (member.ready and not member.terminating)
        return {
            "addresses": [member.address if family == "IPv4" else member.address6],
            "conditions": {
                "ready": ready,
                "serving": member.ready,
                "terminating": member.terminating,
            },
            "nodeName": NODE,
            "zone": ZONE,
            "targetRef": {
                "kind": "Pod",
                "name": member.name,
                "namespace": self._namespace,
                "uid": member.uid,
            },
        }
