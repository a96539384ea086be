"""The EndpointSlices of one Service, merged into one set of endpoints; pure.

Called by `kubernetes`, which hears of the slices one by one. A slice is read once, when it comes;
a change of one is merged with what was read of the others.

**Identity.** An endpoint is its pod's UID and the port's number, or address and port if the slice
names no pod. So a pod whose container restarts, or that has addresses of two families, or that
stands in two slices while it moves, is one endpoint, with one cap.

**The port.** Slices carry the name of the Service's port, and the number on which the pods listen
(`targetPort`), not the Service's own number. A *name* stands for the ports of that name. A *number*
stands for the name under which some pods listen on it, and so also for the pods that listen on
another number under that name. If none listens on the number, and the Service has one port only,
that one is meant: `port: 80, targetPort: 8080` can be given as 80 or 8080. Ports other than TCP,
and those without a number (which stand for all ports), are no ports here.

**Conditions.** An endpoint serves if `serving` says so; if that is null, `ready`; if both are, it
does. `ready` alone would be wrong: it is true for unready and for terminating pods under
`publishNotReadyAddresses`. Null for `terminating` is no.

**Several entries of one endpoint.** The slice with the greatest resource version says whether it
serves and terminates: the controller writes every slice with the state of the pods at that moment,
so what was written last is what is true. (Versions that are no numbers count as 0, and among equals
the one that came last is taken.) The address is one of the preferred family, if there is any, from
the newest slice that has one.

Of several addresses in one entry the first counts, as for kube-proxy: they all lead to the same
pod. Slices of type FQDN are passed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.balancing.endpoint import EndpointSpec
from app.config.addresses import AddressPort
from app.discovery.source import Object

Family = Literal["IPv4", "IPv6"]

SERVICE_LABEL = "kubernetes.io/service-name"
"""The label that every slice of a Service has."""

_FAMILIES = {"IPv4", "IPv6"}


@dataclass(slots=True)
class _Slice:
    """What was read of one EndpointSlice."""

    version: int
    ports: tuple[tuple[str, int], ...]
    """Name and number; the name may be empty."""

    entries: list[Object]
    specs: dict[int, list[EndpointSpec]] = field(default_factory=dict)
    """The endpoints by the port's number, for the numbers that were asked for."""

    def endpoints(self, number: int) -> list[EndpointSpec]:
        """Read the entries, once."""
        if number not in self.specs:
            self.specs[number] = list(_read_entries(self.entries, number))
        return self.specs[number]


class SliceSet:
    """All slices of one Service, by name; `port` is the Service's, as the pool's spec has it."""

    def __init__(self, port: int | str, prefer: Family = "IPv4") -> None:
        self._port = port
        self._prefer_ipv6 = prefer == "IPv6"
        self._slices: dict[str, _Slice] = {}
        """In the order in which they came."""

    def replace(self, objects: Iterable[Object]) -> None:
        """Know these slices and no others."""
        known, self._slices = self._slices, {}
        for obj in objects:
            self.put(obj)
            if (before := known.get(obj["metadata"]["name"])) is not None:
                self._keep(before, obj["metadata"]["name"])

    def put(self, obj: Object) -> None:
        """Take in a new slice, or a new state of one."""
        self.remove(obj)
        if obj.get("addressType") in _FAMILIES:
            self._slices[obj["metadata"]["name"]] = _read_slice(obj)

    def remove(self, obj: Object) -> None:
        """Forget a slice."""
        self._slices.pop(obj["metadata"]["name"], None)

    def endpoints(self) -> dict[str, EndpointSpec]:
        """Return all endpoints, by identity."""
        names = self._port_names()
        merged: dict[str, EndpointSpec] = {}
        for part in self._newest_first():
            for number in {number for name, number in part.ports if name in names}:
                for spec in part.endpoints(number):
                    newer = merged.get(spec.identity)
                    merged[spec.identity] = spec if newer is None else self._join(newer, spec)
        return merged

    def complaint(self) -> str:
        """Say what is most likely wrong with the Service or with the port; empty if nothing is."""
        if not self._slices:
            return "it has no EndpointSlices: is there such a Service, with a selector?"
        ports = self._ports()
        if not ports:
            return ""  # no pods yet: slices have ports when they have pods
        seen = ", ".join(sorted(f"{name or 'unnamed'} ({number})" for name, number in ports))
        if not self._port_names() & {name for name, _ in ports}:
            return f"it has no port {self._port}: its pods' ports are {seen}"
        if isinstance(self._port, int) and self._port not in {number for _, number in ports}:
            return f"no pod listens on {self._port}; its only port is taken, {seen}"
        return ""

    # --- inside

    def _keep(self, before: _Slice, name: str) -> None:
        """Go on with a slice as it was read before, if the list shows that it is the same.

        A list brings all slices, most of them as they were; to compare costs less than to read.
        """
        now = self._slices.get(name)
        if now is not None and (now.ports, now.entries) == (before.ports, before.entries):
            before.version = now.version
            self._slices[name] = before

    def _ports(self) -> set[tuple[str, int]]:
        return {port for part in self._slices.values() for port in part.ports}

    def _port_names(self) -> set[str]:
        """Return the names of the ports that are meant."""
        if isinstance(self._port, str):
            return {self._port}
        ports = self._ports()
        every = {name for name, _ in ports}
        return {name for name, number in ports if number == self._port} or (
            every if len(every) == 1 else set()
        )

    def _newest_first(self) -> list[_Slice]:
        last_come_first = reversed(self._slices.values())
        return sorted(last_come_first, key=lambda part: part.version, reverse=True)

    def _join(self, newer: EndpointSpec, older: EndpointSpec) -> EndpointSpec:
        """Take the newer entry's conditions, and the address of the preferred family."""
        newer_fits = (":" in newer.host) == self._prefer_ipv6
        older_fits = (":" in older.host) == self._prefer_ipv6
        if newer_fits or not older_fits:
            return newer
        if (newer.serving, newer.terminating) == (older.serving, older.terminating):
            return older  # as it is: to make one costs more than to compare
        return replace(older, serving=newer.serving, terminating=newer.terminating)


def _read_slice(obj: Object) -> _Slice:
    version = str(obj["metadata"].get("resourceVersion"))
    entries = obj.get("endpoints") or []
    ports = tuple(
        (port.get("name") or "", port["port"])
        for port in obj.get("ports") or ()
        if port.get("port") is not None and port.get("protocol") in {None, "TCP"}
    )
    return _Slice(int(version) if version.isdecimal() else 0, ports, entries)


def _read_entries(entries: Sequence[Object], number: int) -> Iterator[EndpointSpec]:
    for entry in entries:
        addresses = entry.get("addresses")
        if not addresses:
            continue
        host = addresses[0]
        conditions = entry.get("conditions") or {}
        serving = conditions.get("serving")
        if serving is None:
            serving = conditions.get("ready")
        pod = entry.get("targetRef") or {}
        uid = pod.get("uid")
        yield EndpointSpec(
            identity=f"{uid}:{number}" if uid else str(AddressPort(host, number)),
            host=host,
            port=number,
            name=pod.get("name") or "",
            serving=serving is not False,
            terminating=bool(conditions.get("terminating")),
            node=entry.get("nodeName") or "",
            zone=entry.get("zone") or "",
        )
